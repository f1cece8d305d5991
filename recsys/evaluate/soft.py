"""Ranking of two classes where a row may be a part of both: weighted rows, or rows of which only the chance is known."""

from __future__ import annotations

import numpy as np

from recsys.value import require


def average_precision(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Precision at each positive, averaged by weight; rows of equal score count as one; NaN without positives.

    scores [N]; positive and negative [N] >= 0 are a row's weight in each class: (p, 1 - p) of a chance p gives the
    score expected over labels, (w y, w (1 - y)) with inverse propensities w that of the population.
    """
    hits, misses, _ = _levels(scores, positive, negative)
    taken = hits.cumsum() + misses.cumsum()
    precision = hits.cumsum() / np.where(taken > 0, taken, 1)
    return float((precision * hits).sum() / hits.sum()) if hits.sum() > 0 else float("nan")


def threshold_at_fpr(scores: np.ndarray, negative: np.ndarray, rate: float) -> float:
    """The lowest score above which at most this share of the negatives' weight lies."""
    require(0 < rate < 1, f"rate is a share of the negatives, inside 0..1, got {rate}")
    _, misses, levels = _levels(scores, np.zeros_like(negative), negative)
    fits = np.flatnonzero(misses.cumsum() <= rate * misses.sum() + 1e-12)
    return float(levels[fits[-1]]) if len(fits) else float("inf")


def recall_at_fpr(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, rate: float) -> float:
    """Share of the positives' weight that is caught while at most `rate` of the negatives' is; NaN without positives."""
    caught = positive[scores >= threshold_at_fpr(scores, negative, rate)].sum()
    return float(caught / positive.sum()) if positive.sum() > 0 else float("nan")


def _levels(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights of both classes at each distinct score, and the scores, from the highest."""
    require(not np.isnan(scores).any(), "scores hold NaN: a ranking needs an order")
    levels, place = np.unique(-scores, return_inverse=True)
    size = len(levels)
    return np.bincount(place, positive, size), np.bincount(place, negative, size), -levels
