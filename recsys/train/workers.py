"""The other workers of a run, as far as a training step must know of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Workers:
    """Rank and number of the workers; sums over them. Without a process group there is one worker."""

    rank: int
    world: int
    device: torch.device

    @classmethod
    def current(cls, device: torch.device | str = "cpu") -> Workers:
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size(), torch.device(device))
        return cls(0, 1, torch.device(device))

    @property
    def chief(self) -> bool:
        return self.rank == 0

    def total(self, tensor: Tensor) -> Tensor:
        """The sum over workers, without gradient."""
        summed = tensor.detach().clone()
        if self.world > 1:
            dist.all_reduce(summed)
        return summed

    def all_ids(self, ids: Tensor) -> tuple[Tensor, int]:
        """Integer ids of all workers in rank order and where this worker's begin; lengths may differ."""
        if self.world == 1:
            return ids, 0
        lengths = [torch.zeros(1, dtype=torch.int64, device=ids.device) for _ in range(self.world)]
        dist.all_gather(lengths, torch.tensor([ids.shape[0]], device=ids.device))
        sizes = [int(length) for length in lengths]
        padded = ids.new_zeros(max(1, *sizes))
        padded[: ids.shape[0]] = ids
        parts = [torch.zeros_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)]), sum(sizes[: self.rank])

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, with gradients averaged over the workers in backward."""
        if self.world == 1:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, forward_sync_buffers=False)

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()
