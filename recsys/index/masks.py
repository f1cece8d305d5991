"""Which items may be found is a mask over ids, however it was said: by categories, by ranges, or by both."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from recsys.value import require


def among(column: np.ndarray, categories: Iterable[int]) -> np.ndarray:
    """[V] items whose category, `column` [V], is one of these."""
    wanted = np.fromiter(categories, dtype=np.int64)
    require(np.issubdtype(column.dtype, np.integer), f"categories must be integers, got {column.dtype}")
    return np.isin(column, wanted)


def between(column: np.ndarray, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    """[V] items whose value, `column` [V], lies in [low, high]; an item whose value is NaN lies nowhere."""
    require(low <= high, f"a range must go upwards, got [{low}, {high}]")
    return (column >= low) & (column <= high)


def of_ids(ids: np.ndarray, num_items: int) -> np.ndarray:
    """[V] exactly these items."""
    ids = np.asarray(ids, dtype=np.int64)
    wrong = ids[(ids < 0) | (ids >= num_items)]
    require(not len(wrong), f"id {wrong[:1]} lies outside 0..{num_items - 1}")
    mask = np.zeros(num_items, dtype=bool)
    mask[ids] = True
    return mask
