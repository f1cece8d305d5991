"""On a sphere of many dimensions nearly all pairs are a right angle apart: even draws never meet the near and the far."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.value import require, value


@value
class DistanceWeighted:
    """Negatives drawn as often at every distance (Wu et al. 2017, "Sampling matters in deep embedding learning").

    The density of distances d between even points on the sphere of dimension n is q(d) ~ d^(n-2) (1 - d^2/4)^((n-3)/2);
    a negative weighs 1 / q(d). Nearer ones than `nearest` weigh as if they lay there, which bounds the variance of the
    gradient; farther ones than `farthest` have no loss and aren't drawn while others are there.
    """

    nearest: float = 0.5
    farthest: float = 1.4

    def __post_init__(self) -> None:
        fits = 0 < self.nearest < self.farthest < 2
        require(fits, f"0 < nearest < farthest < 2, the sphere's diameter; got {self.nearest} and {self.farthest}")

    def __call__(self, vectors: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """[B] places of a negative for each of the unit vectors [B, D], labels [B]; -1 where all have one label."""
        apart = labels[:, None] != labels
        distance = (2 - 2 * vectors @ vectors.T).clamp(min=0).sqrt()
        weight = self.log_weight(distance, vectors.shape[1])
        near = apart & (distance < self.farthest)
        allowed = torch.where(near.any(1, keepdim=True), near, apart)
        noise = -torch.empty_like(weight).exponential_(generator=generator).log()  # Gumbel: its argmax is a draw
        keys = (weight + noise).masked_fill(~allowed, -torch.inf)
        return keys.argmax(1).masked_fill(~apart.any(1), -1)

    def log_weight(self, distance: Tensor, dim: int) -> Tensor:
        """-log q(d), without its constant, of distances clipped to [nearest, farthest]."""
        held = distance.clamp(self.nearest, self.farthest)
        return -(dim - 2) * held.log() - (dim - 3) / 2 * (1 - held.square() / 4).log()
