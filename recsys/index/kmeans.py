"""K-means by matrix products: all distances of a block of rows at once, the nearest centre of each in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit

SCORES = 1 << 20  # of a block: they stay in the cache until the largest of each row is found


def nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """[n] int32 the centre [C, D] at the smallest Euclidean distance of each row [n, D]."""
    half_norms = np.einsum("cd,cd->c", centres, centres) / np.float32(2)
    found = np.empty(len(rows), np.int32)
    transposed = np.ascontiguousarray(centres.T)
    block = min(8192, max(64, SCORES // len(centres)))
    for start in range(0, len(rows), block):
        argmax_less(rows[start : start + block] @ transposed, half_norms, found[start : start + block])
    return found


def kmeans(rows: np.ndarray, count: int, draw: np.random.Generator, rounds: int) -> np.ndarray:
    """Centres [count, D] float32 of rows [n, D] with n >= count; a centre that loses all rows takes half of the largest."""
    centres = rows[np.sort(draw.choice(len(rows), count, replace=False))].copy()
    if count == len(rows):
        return centres
    for _ in range(rounds):
        own = nearest(rows, centres)
        centres = means(rows, own, centres)
    return centres


def means(rows: np.ndarray, own: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The mean of the rows of each centre [C, D]; one without rows takes half of the largest."""
    sums, sizes = _sums(rows, own, len(centres))
    fresh = centres.copy()
    fresh[sizes > 0] = sums[sizes > 0] / sizes[sizes > 0, None]
    _split_largest(fresh, sizes)
    return fresh


def _split_largest(centres: np.ndarray, sizes: np.ndarray) -> None:
    for empty in np.flatnonzero(sizes == 0):
        largest = int(np.argmax(sizes))
        nudge = np.where(np.arange(centres.shape[1]) % 2, np.float32(1e-3), np.float32(-1e-3))
        centres[empty] = centres[largest] * (1 + nudge)
        centres[largest] *= 1 - nudge
        sizes[empty] = sizes[largest] // 2
        sizes[largest] -= sizes[empty]


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def argmax_less(scores, less, found):  # type: ignore[no-untyped-def]
    """found[i]: where scores[i] - less is largest; the first of equals. Two passes, both of which vectorise."""
    count = scores.shape[1]
    for row in range(scores.shape[0]):
        held = scores[row]
        largest = np.float32(-np.inf)
        for at in range(count):
            held[at] -= less[at]
            largest = max(largest, held[at])
        for at in range(count):
            if held[at] == largest:
                found[row] = at
                break


@njit(cache=True, nogil=True)
def _sums(rows, own, count):  # type: ignore[no-untyped-def]
    sums = np.zeros((count, rows.shape[1]), np.float64)
    sizes = np.zeros(count, np.int64)
    for row in range(rows.shape[0]):
        sizes[own[row]] += 1
        sums[own[row]] += rows[row]
    return sums, sizes
