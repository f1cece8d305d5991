"""A small tower over dense features: one hidden layer, then the space that is searched."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.random import torch_rng
from recsys.value import require, value


@value
class FeatureTower:
    """Features [B, F] to vectors [B, dim]; `rank` puts a bottleneck before the last layer."""

    hidden: int = 128
    dim: int = 32
    rank: int | None = None
    normalise: bool = False

    def __post_init__(self) -> None:
        require(min(self.hidden, self.dim) > 0, f"hidden and dim must be positive, got {self.hidden} and {self.dim}")
        require(self.rank is None or self.rank > 0, f"rank must be positive or null, got {self.rank}")

    def build(self, width: int, seed: int, name: str = "tower") -> nn.Sequential:
        """Weights are uniform with variance 1 / inputs (LeCun et al. 1998) from the stream (seed, "init", name)."""
        sizes = [width, self.hidden, *([] if self.rank is None else [self.rank]), self.dim]
        layers: list[nn.Module] = [nn.Linear(sizes[0], sizes[1]), nn.ReLU()]
        layers += [nn.Linear(wide, narrow) for wide, narrow in zip(sizes[1:], sizes[2:], strict=False)]
        tower = nn.Sequential(*layers, *([UnitNorm()] if self.normalise else []))
        generator = torch_rng(seed, "init", name)
        with torch.no_grad():
            for p in tower.parameters():
                bound = (3 / p.shape[-1]) ** 0.5 if p.ndim == 2 else 0.0
                p.uniform_(-bound, bound, generator=generator)
        return tower


class UnitNorm(nn.Module):
    """Onto the unit sphere."""

    def forward(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1)


def silent_share(tower: nn.Sequential, features: Tensor) -> float:
    """Share of the hidden units that are 0 for all of the features [N, F]: dead ones have no gradient either."""
    with torch.no_grad():
        return float((tower[1](tower[0](features)) <= 0).all(0).float().mean())
