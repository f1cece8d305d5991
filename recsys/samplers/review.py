"""Which ads a person looks at: by expected harm, and some at random so that the rest stays known."""

from __future__ import annotations

import numpy as np

from recsys.value import require, value


@value
class ReviewQueue:
    """Rows are drawn independently with a known chance, which a priority raises and a random audit keeps above zero.

    A share `explore` of the budget is spent evenly. The chances are to be logged: they are the propensities that
    training and evaluation divide by.
    """

    budget: float  # expected share of the rows that are looked at
    explore: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.budget <= 1, f"budget is a share of the rows, in (0, 1], got {self.budget}")
        require(0 <= self.explore <= 1, f"explore is a share of the budget, got {self.explore}")

    def propensity(self, priority: np.ndarray) -> np.ndarray:
        """[N] chances, their sum N x budget, of priorities [N] >= 0 such as probability x harm."""
        require(bool((priority >= 0).all()), "priorities can't be negative")
        floor = self.budget * self.explore
        rest = (self.budget - floor) * len(priority)
        return np.maximum(floor, 0) + proportional(priority, rest, 1 - floor)

    def __call__(self, priority: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Who is looked at [N] bool, and the chances [N] to be logged."""
        chance = self.propensity(priority)
        return rng.random(len(priority)) < chance, chance


def proportional(size: np.ndarray, total: float, most: float) -> np.ndarray:
    """[N] shares of `total` in proportion to size, none above `most`; what is cut off goes to the others."""
    require(total <= most * len(size) + 1e-9, f"a total of {total} doesn't fit under {most} each")
    size = size + 1e-12 * max(1.0, float(size.max(initial=0.0)))
    full = np.zeros(len(size), bool)
    while True:
        left = total - most * full.sum()
        share = np.where(full, most, size * left / max(size[~full].sum(), 1e-300))
        over = share > most + 1e-12
        if not over.any():
            return share
        full |= over
