"""What enters an index is checked once, at its border: the first wrong row is named, and what to do about it."""

from __future__ import annotations

import numpy as np

from recsys.index.spec import Metric
from recsys.value import require

NORM_TOLERANCE = 1e-3


def checked_vectors(vectors: np.ndarray, what: str, metric: Metric = "cosine", first: int = 0) -> np.ndarray:
    """Vectors as contiguous float32 [n, D]; the first of them is row `first` of something larger.

    Raises ValueError naming the first row that the metric can't take: for cosine one whose norm isn't 1, for inner
    product and L2 one that isn't finite or whose squared norm isn't.
    """
    vectors = np.asarray(vectors)
    require(vectors.ndim == 2 and vectors.shape[1] > 0, f"{what} must be [n, D], got shape {vectors.shape}")
    require(vectors.dtype == np.float32, f"{what} must be float32, got {vectors.dtype}; convert them with .astype")
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    if metric == "cosine":
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))  # NaN compares false, so it is caught here too
        remedy = "normalise vectors to norm 1"
    else:
        wrong = np.flatnonzero(~np.isfinite(norms))
        remedy = "drop rows that aren't finite, and scale vectors whose squared norm overflows float32"
    if len(wrong):
        row = first + int(wrong[0])
        raise ValueError(f"{what}: row {row} has norm {norms[wrong[0]]:.4g}; {remedy} ({len(wrong)} rows)")
    return np.ascontiguousarray(vectors)


def checked_ids(ids: np.ndarray, expected: int) -> np.ndarray:
    """Ids [expected] as int64; raises ValueError for ids that are negative, not integers, or given twice."""
    ids = np.asarray(ids)
    require(ids.shape == (expected,), f"ids must be [{expected}], one for each vector, got shape {ids.shape}")
    require(np.issubdtype(ids.dtype, np.integer), f"ids must be integers, got {ids.dtype}")
    ids = ids.astype(np.int64)
    require(not len(ids) or ids.min() >= 0, f"ids must be 0 or more, got {ids.min() if len(ids) else 0}")
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"id {values[counts > 1][0]} is given {counts.max()} times; every item has one vector")
    return ids


def checked_mask(allowed: np.ndarray, num_queries: int) -> np.ndarray:
    """A mask over ids as it was given, [V] or [num_queries, V]; raises ValueError for another shape or dtype."""
    require(allowed.dtype == bool, f"allowed must be a mask of booleans, got {allowed.dtype}")
    require(
        allowed.ndim == 1 or (allowed.ndim == 2 and len(allowed) == num_queries),
        f"allowed must be [{num_queries}, V] or [V], got {allowed.shape}",
    )
    return allowed
