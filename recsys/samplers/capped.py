"""Rows by group, of which a large group has no more than some."""

from __future__ import annotations

from torch import Tensor

from recsys.samplers.balanced import Balanced
from recsys.value import require, value


@value
class Capped(Balanced):
    """A group of n rows is drawn in proportion to min(n, cap) ** (1 - strength): what lies beyond the cap counts nothing.

    Which `cap` of its rows count isn't decided: all are drawn, each the less often. (Capping the clicks of a query.)
    """

    cap: int = 10

    def __post_init__(self) -> None:
        Balanced.__post_init__(self)
        require(self.cap >= 1, f"cap must be positive, got {self.cap}")

    def weights(self, group: Tensor) -> Tensor:
        """[N] chance of each row, of groups [N] numbered from 0."""
        counts = group.bincount().double()[group]
        held = counts.clamp(max=self.cap) ** (1 - self.strength) / counts
        return held / held.sum()
