"""A vector for each id: it learns by heart what a log says of that id, and says nothing of any other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.bag import bag
from recsys.data.spec import FIRST
from recsys.random import torch_rng
from recsys.value import require, value


@value
class HashedIds:
    """Ids are sums of `num_hashes` rows of one table (Svenstrup et al. 2017); unknown ones, below 2, share a vector.

    In training an id is taken for unknown with chance `dropout` (DropoutNet, Volkovs et al. 2017): the rest of the model
    learns to do without it, and the shared vector learns what an unknown id is to say. Without dropout that vector is
    never trained, and stays at nothing.
    """

    buckets: int = 4096
    num_hashes: int = 2
    dropout: float = 0.0
    scale: float = 0.7  # length of a row at the start: two of them are as long as a word's vector

    def __post_init__(self) -> None:
        require(self.buckets >= 2, f"buckets must be at least 2, got {self.buckets}")
        require(self.num_hashes >= 1, f"num_hashes must be at least 1, got {self.num_hashes}")
        require(0 <= self.dropout < 1, f"dropout must lie in [0, 1), got {self.dropout}")

    def build(self, dim: int, seed: int, name: str) -> HashedIdsModule:
        """Weights of the stream (seed, "init", name), dropped ids of (seed, "dropped ids", name)."""
        return HashedIdsModule(self, dim, seed, name)


class HashedIdsModule(nn.Module):
    def __init__(self, spec: HashedIds, dim: int, seed: int, name: str) -> None:
        super().__init__()
        drawn = torch.randn(spec.buckets + 1, dim, generator=torch_rng(seed, "init", name))
        self.table = nn.Parameter(drawn * spec.scale / dim**0.5)  # row 0 is padding
        self.unknown = nn.Parameter(torch.zeros(dim))
        self.dropout, self.num_hashes = spec.dropout, spec.num_hashes
        self.generator = torch_rng(seed, "dropped ids", name)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, D] of ids [B]."""
        known = ids >= FIRST
        if self.training and self.dropout:
            known = known & (torch.rand(ids.shape, generator=self.generator) >= self.dropout)
        found = bag(self.table, ids.where(known, 0), torch.arange(len(ids) + 1), num_hashes=self.num_hashes)
        return torch.where(known[:, None], found, self.unknown)
