"""A small ranker over a few features of every candidate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.random import torch_rng
from recsys.value import require, value


@value
class ListRanker:
    """One hidden layer over standardised features; the standardisation is part of the model, as it is in production."""

    hidden: int = 16

    def __post_init__(self) -> None:
        require(self.hidden > 0, f"hidden must be positive, got {self.hidden}")

    def build(self, features: Tensor, seed: int) -> ListRankerModule:
        """For features like these [..., F], whose mean and deviation it keeps; weights from the stream "init/ranker"."""
        return ListRankerModule(features.flatten(0, -2), self.hidden, seed)


class ListRankerModule(nn.Module):
    mean: Tensor
    deviation: Tensor

    def __init__(self, features: Tensor, hidden: int, seed: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(features.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, 1))
        deviation = features.std(0)
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("deviation", torch.where(deviation > 1e-6, deviation, 1.0))  # a constant says nothing
        generator = torch_rng(seed, "init", "ranker")
        with torch.no_grad():
            for p in self.net.parameters():
                bound = (3 / p.shape[-1]) ** 0.5 if p.ndim == 2 else 0.0
                p.uniform_(-bound, bound, generator=generator)

    def forward(self, features: Tensor) -> Tensor:
        """[..., F] -> [...] scores."""
        return self.net((features - self.mean) / self.deviation).squeeze(-1)
