"""Exact search is a matrix product and a partial sort: the truth that an index is judged against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.index.spec import Metric

BLOCK = 128  # queries scored at a time


@dataclass(frozen=True, slots=True)
class Hits:
    """What was found for each query, best first; places without an item have id -1 and score -inf."""

    ids: np.ndarray  # [B, k] int64
    scores: np.ndarray  # [B, k] float32

    @classmethod
    def empty(cls, num_queries: int, k: int) -> Hits:
        scores = np.full((num_queries, k), -np.inf, dtype=np.float32)
        return cls(ids=np.full((num_queries, k), -1, dtype=np.int64), scores=scores)

    @classmethod
    def stack(cls, parts: Sequence[Hits], k: int) -> Hits:
        parts = [part.widened(k) for part in parts] or [cls.empty(0, k)]
        return cls(np.concatenate([part.ids for part in parts]), np.concatenate([part.scores for part in parts]))

    def widened(self, k: int) -> Hits:
        """The same hits with empty places up to width k."""
        missing = Hits.empty(len(self.ids), k - self.ids.shape[1])
        return Hits(np.concatenate([self.ids, missing.ids], 1), np.concatenate([self.scores, missing.scores], 1))

    def recall(self, truth: Hits) -> float:
        """The share of the true items that were found, averaged over queries; 1 when there is nothing to find."""
        shares = [
            np.isin(true[true >= 0], found).mean()
            for true, found in zip(truth.ids, self.ids, strict=True)
            if (true >= 0).any()
        ]
        return float(np.mean(shares)) if shares else 1.0


def exact_search(
    vectors: np.ndarray,
    ids: np.ndarray,
    queries: np.ndarray,
    k: int,
    allowed: np.ndarray | None = None,
    metric: Metric = "cosine",
) -> Hits:
    """The k items of highest score with each query [B, D], among the `vectors` [n, D] that are allowed [n].

    The score is the inner product, or with metric l2 minus the squared distance.
    """
    if allowed is not None:
        vectors, ids = vectors[allowed], ids[allowed]
    k = min(k, len(vectors))
    if k == 0:
        return Hits.empty(len(queries), 0)
    starts = range(0, len(queries), BLOCK)
    return Hits.stack([_best(scored(queries[start : start + BLOCK], vectors, metric), ids, k) for start in starts], k)


def scored(queries: np.ndarray, vectors: np.ndarray, metric: Metric) -> np.ndarray:
    """[B, n] scores of vectors [n, D] for queries [B, D], more being nearer."""
    if metric != "l2":
        return queries @ vectors.T
    middle = vectors.mean(0)  # distances don't change, and squares of what is left don't cancel
    queries, vectors = queries - middle, vectors - middle
    squares = np.einsum("nd,nd->n", vectors, vectors)
    own = np.einsum("bd,bd->b", queries, queries)
    return np.minimum(2 * (queries @ vectors.T) - squares - own[:, None], 0)


def _best(scores: np.ndarray, ids: np.ndarray, k: int) -> Hits:
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    held = np.take_along_axis(scores, top, axis=1)
    order = np.argsort(-held, axis=1, kind="stable")
    return Hits(ids=ids[np.take_along_axis(top, order, axis=1)], scores=np.take_along_axis(held, order, axis=1))
