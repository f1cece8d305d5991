"""A list is worth more than its items: the second of two alike items adds little."""

from __future__ import annotations

import numpy as np


def mmr(relevance: np.ndarray, vectors: np.ndarray, valid: np.ndarray, k: int, lam: float) -> np.ndarray:
    """Places of each list's items in order of maximal marginal relevance (Carbonell and Goldstein, 1998).

    relevance [B, N] best first, vectors [B, N, D] of norm 1, valid [B, N]; the result [B, N] holds the k chosen by
    (1 - lam) * relevance - lam * (greatest similarity to a chosen one), then the others in order of relevance.
    Relevance is scaled to [0, 1] within each list, because fused scores have no common scale. lam 0 changes nothing.
    """
    rows, width = relevance.shape
    places = np.broadcast_to(np.arange(width), (rows, width))
    if lam == 0 or width == 0:
        return places.copy()
    gain = np.where(valid, (1 - lam) * _unit_range(relevance, valid), -np.inf)
    nearest = np.zeros_like(gain)
    chosen = np.full((rows, width), width + 1)  # the turn at which a place was chosen
    every = np.arange(rows)
    for turn in range(min(k, width)):
        best = np.argmax(gain - lam * nearest, axis=1)
        # a list that is used up offers a place again; its first turn counts
        chosen[every, best] = np.minimum(chosen[every, best], turn)
        gain[every, best] = -np.inf
        similarity = np.einsum("bnd,bd->bn", vectors, vectors[every, best])
        nearest = similarity if turn == 0 else np.maximum(nearest, similarity)
    return np.lexsort((places, np.where(valid, chosen, width + 2)), axis=1)


def _unit_range(relevance: np.ndarray, valid: np.ndarray) -> np.ndarray:
    low = np.min(relevance, axis=1, where=valid, initial=np.inf)[:, None]
    high = np.max(relevance, axis=1, where=valid, initial=-np.inf)[:, None]
    span = np.where(high > low, high - low, 1.0)
    return np.where(valid, (relevance - np.where(np.isfinite(low), low, 0.0)) / span, 0.0)
