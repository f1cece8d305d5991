"""The exact nearest of a few queries can be found while vectors stream by, none of which needs to be kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from recsys.index.exact import Hits
from recsys.index.spec import Metric

BLOCK = 4096  # vectors scored at a time: their scores stay in the cache
STRIDE = 64  # scores whose largest is compared with the threshold at once
ROOM = 4  # times k candidates are held before the worst are dropped


class RunningTop:
    """The best k of all vectors seen so far, for each query [Q, D]; of equal scores the smaller place wins."""

    def __init__(self, queries: np.ndarray, k: int, metric: Metric) -> None:
        self.queries, self.k = np.ascontiguousarray(queries, np.float32), k
        self.metric: Metric = metric
        self._scores = np.full((len(queries), ROOM * k), -np.inf, np.float32)
        self._places = np.full((len(queries), ROOM * k), -1, np.int64)
        self._filled = np.zeros(len(queries), np.int64)
        self._threshold = np.full(len(queries), -np.inf, np.float32)

    def add(self, vectors: np.ndarray, first: int) -> None:
        """Vectors [n, D] float32 at places first, first + 1 ...; places must come in ascending order."""
        if not len(self.queries):
            return
        for start in range(0, len(vectors), BLOCK):
            block = vectors[start : start + BLOCK]
            scores = similarity(self.queries, block, self.metric)
            _keep(scores, first + start, self.k, self._scores, self._places, self._filled, self._threshold)

    def hits(self) -> Hits:
        return best_of(self._places, self._scores, self.k)

    @classmethod
    def merged(cls, parts: Sequence[Hits], k: int) -> Hits:
        """The best k of what was found in several ranges of places."""
        return best_of(
            np.concatenate([part.ids for part in parts], 1), np.concatenate([part.scores for part in parts], 1), k
        )


def similarity(queries: np.ndarray, vectors: np.ndarray, metric: Metric) -> np.ndarray:
    """[Q, n] inner products, or minus squared distances, in float32."""
    scores = queries @ vectors.T
    if metric == "l2":
        scores *= 2
        scores -= np.einsum("nd,nd->n", vectors, vectors)
        scores -= np.einsum("qd,qd->q", queries, queries)[:, None]
    return scores


def best_of(places: np.ndarray, scores: np.ndarray, k: int) -> Hits:
    order = np.lexsort((places, -scores), axis=1)[:, :k]
    scores = np.take_along_axis(scores, order, 1)
    places = np.where(np.isneginf(scores), -1, np.take_along_axis(places, order, 1))
    return Hits(ids=places, scores=scores)


@njit(cache=True, nogil=True)
def _keep(scores, first, k, kept, places, filled, threshold):  # type: ignore[no-untyped-def]  # noqa: PLR0913
    for query in range(scores.shape[0]):
        row, bound = scores[query], threshold[query]
        for start in range(0, len(row), STRIDE):
            stop = min(start + STRIDE, len(row))
            if _largest(row[start:stop]) <= bound:
                continue
            for at in range(start, stop):
                if row[at] > bound:
                    kept[query, filled[query]], places[query, filled[query]] = row[at], first + at
                    filled[query] += 1
                    if filled[query] == kept.shape[1]:
                        bound = _drop(kept[query], places[query], k)
                        filled[query] = k
        threshold[query] = bound


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def _largest(row):  # type: ignore[no-untyped-def]
    largest = row[0]
    for score in row:
        largest = max(largest, score)
    return largest


@njit(cache=True, nogil=True)
def _drop(kept, places, k):  # type: ignore[no-untyped-def]
    """Keep the best k in the order in which they came, and return the worst score that is kept."""
    bound = np.partition(kept, len(kept) - k)[len(kept) - k]
    equal = k - np.sum(kept > bound)
    at = 0
    for place in range(len(kept)):
        if kept[place] > bound or (kept[place] == bound and equal > 0):
            equal -= kept[place] == bound
            kept[at], places[at] = kept[place], places[place]
            at += 1
    kept[at:], places[at:] = -np.inf, -1
    return bound
