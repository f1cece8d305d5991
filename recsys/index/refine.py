"""Candidates that 4-bit codes chose are ranked by bytes, and the best of them by half floats where there is such a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from recsys.index.codec import Codec
from recsys.index.spec import Metric


@dataclass(frozen=True, slots=True)
class Refiner:
    """Ranks places by rows of bytes [n, D], which lie in order of list, as residuals of the lists' centres."""

    rows: np.ndarray  # [n, D] uint8, mapped
    starts: np.ndarray  # [L + 1] first place of each list
    centres: np.ndarray  # [L, D]
    codec: Codec
    metric: Metric

    def rank(
        self, queries: np.ndarray, places: np.ndarray, lists: np.ndarray, coarse: np.ndarray, keep: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best `keep` of the places [B, C], -1 where there are fewer, with their scores; best first.

        lists [B, P], ascending, are those visited, `coarse` [B, P] inner products of their centres with the query.
        """
        keep = min(keep, places.shape[1])
        found = np.empty((len(queries), keep), np.int64), np.empty((len(queries), keep), np.float32)
        held = self.rows, self.starts, self.codec.offset, self.codec.scale, self.codec.spread
        if self.metric == "l2":
            _rank_l2(queries, places, lists, self.centres, *held, *found)
        else:
            _rank_product(queries, places, lists, coarse, *held, *found)
        return found

    def reconstructed(self, places: np.ndarray) -> np.ndarray:
        own = np.searchsorted(self.starts, places, side="right") - 1
        return self.centres[own] + self.codec.spread[own, None] * (
            self.codec.offset + self.codec.scale * self.rows[places]
        )


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc", "contract"})
def _product(weights, row):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for dim in range(len(weights)):
        total += weights[dim] * np.float32(row[dim])
    return total


@njit(cache=True, nogil=True)
def _list_of(place, firsts):  # type: ignore[no-untyped-def]
    """Which of the visited lists, by ascending first places, holds a place."""
    low, high = 0, len(firsts)
    while high - low > 1:
        middle = (low + high) // 2
        if firsts[middle] <= place:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _rank_product(queries, places, lists, coarse, rows, starts, offset, scale, spread, found, scores):  # type: ignore[no-untyped-def]  # noqa: PLR0913
    held = np.empty(places.shape[1], np.float32)
    firsts = np.empty(lists.shape[1], np.int64)
    for query in range(queries.shape[0]):
        for probe in range(len(firsts)):
            firsts[probe] = starts[lists[query, probe]]
        weights = queries[query] * scale
        base = np.float32(np.sum(queries[query] * offset))
        count = 0
        for place in places[query]:
            if place < 0:
                break
            own = _list_of(place, firsts)
            wide = spread[lists[query, own]]
            held[count] = coarse[query, own] + wide * (base + _product(weights, rows[place]))
            count += 1
        best(places[query], held, count, found[query], scores[query])


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc", "contract"})
def _distance(residual, wide, offset, scale, row):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for dim in range(len(residual)):
        gap = residual[dim] - wide * (offset[dim] + scale[dim] * np.float32(row[dim]))
        total += gap * gap
    return total


@njit(cache=True, nogil=True)
def _rank_l2(queries, places, lists, centres, rows, starts, offset, scale, spread, found, scores):  # type: ignore[no-untyped-def]  # noqa: PLR0913
    held = np.empty(places.shape[1], np.float32)
    firsts = np.empty(lists.shape[1], np.int64)
    for query in range(queries.shape[0]):
        for probe in range(len(firsts)):
            firsts[probe] = starts[lists[query, probe]]
        count = 0
        for place in places[query]:
            if place < 0:
                break
            own = lists[query, _list_of(place, firsts)]
            held[count] = -_distance(queries[query] - centres[own], spread[own], offset, scale, rows[place])
            count += 1
        best(places[query], held, count, found[query], scores[query])


@njit(cache=True, nogil=True)
def best(places, held, count, found, scores):  # type: ignore[no-untyped-def]
    """The best len(found) of the first `count`, descending; the rest stays empty."""
    keep = min(len(found), count)
    found[:], scores[:] = -1, -np.inf
    if keep == 0:
        return
    bound = np.partition(held[:count], count - keep)[count - keep]
    chosen, filled = np.empty(keep, np.int64), 0
    for at in range(count):
        if held[at] > bound:
            chosen[filled] = at
            filled += 1
    for at in range(count):
        if filled < keep and held[at] == bound:
            chosen[filled] = at
            filled += 1
    order = np.argsort(-held[chosen])
    for rank in range(keep):
        found[rank], scores[rank] = places[chosen[order[rank]]], held[chosen[order[rank]]]
