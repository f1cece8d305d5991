"""Rows by group: every group as often as the next, however many rows it has."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value


@value
class Balanced:
    """Draws a group that has rows, then one of its rows, with replacement (class-balanced sampling: Kang et al., 2020).

    `strength` goes from 0, rows as frequent as they are, to 1, groups equally frequent: a group of n rows is drawn in
    proportion to n ** (1 - strength).
    """

    batch: int = 256
    strength: float = 1.0

    def __post_init__(self) -> None:
        require(self.batch > 0, f"batch must be positive, got {self.batch}")
        require(0 <= self.strength <= 1, f"strength must lie in [0, 1], got {self.strength}")

    def weights(self, group: Tensor) -> Tensor:
        """[N] chance of each row, of groups [N] numbered from 0."""
        held = group.bincount().double()[group] ** -self.strength
        return held / held.sum()

    def __call__(self, group: Tensor, seed: int, step: int) -> Tensor:
        """[batch] rows of a step; the same for the same seed and step."""
        return torch.multinomial(
            self.weights(group), self.batch, replacement=True, generator=torch_rng(seed, "balanced", step)
        )
