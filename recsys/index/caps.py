"""At most so many of a seller, a category or a near-duplicate group: the best list under caps is found by walking down.

Greedy: from the best item downwards, one is taken unless a group of its own is full. Walking over the k nearest would
end with fewer than k; here the search goes on, among items whose groups have room, until k are taken or none is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit

from recsys.index.catalogue import Catalogue
from recsys.index.exact import Hits
from recsys.value import require

FETCH = (4, 16)  # times k that are fetched at first, and then for queries that this wasn't enough for

Search = Callable[[np.ndarray, int, "np.ndarray | None", float], Hits]


def checked_caps(caps: Mapping[str, int], groups: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The caps, by name; raises ValueError for a group that the index doesn't hold, and a cap below 1."""
    for name, cap in caps.items():
        require(
            name in groups,
            f"the index holds no group {name!r}, only {sorted(groups) or 'none'}: build it with Traits(groups={{...}})",
        )
        require(int(cap) == cap and cap >= 1, f"the cap of {name!r} must be a whole number from 1 on, got {cap}")
    return {name: int(cap) for name, cap in caps.items()}


@dataclass(frozen=True)
class Capped:
    """Searches of one catalogue under caps, {group: cap}.

    `search(rows, k, mask, deeper)` finds places for some rows of the queries, as `Catalogue.nearest` does.
    """

    catalogue: Catalogue
    caps: Mapping[str, int]
    search: Search

    def __call__(self, num_queries: int, k: int, mask: np.ndarray | None) -> Hits:
        """The greedy places of each query, [B, k], -1 where groups with room have run out; `mask` is [n + m] or one each."""
        found, rows = Hits.empty(num_queries, k), np.arange(num_queries)
        for times in FETCH:
            hits = self.search(rows, times * k, _of_rows(mask, rows), times)
            _put(found, rows, self._walked(hits, k))
            more = (hits.ids.shape[1] == times * k) & (hits.ids[:, -1:] >= 0).all(1) & (found.ids[rows, -1] < 0)
            rows = rows[more]
            if not len(rows):
                return found
        for row in rows.tolist():
            own = mask if mask is None or mask.ndim == 1 else mask[row]
            _put(found, np.array([row]), self._gone_on(np.array([row]), found, own))
        return found

    def _walked(self, hits: Hits, k: int) -> Hits:
        """The first k of hits [B, W] that the caps leave."""
        groups = np.stack([self.catalogue.column(name, hits.ids) for name in self.caps], axis=-1)
        taken = _walk(hits.ids, groups, np.array(list(self.caps.values())), k)
        there = taken >= 0
        ids, scores = (np.take_along_axis(held, np.maximum(taken, 0), axis=1) for held in (hits.ids, hits.scores))
        return Hits(np.where(there, ids, -1), np.where(there, scores, -np.inf).astype(np.float32))

    def _gone_on(self, row: np.ndarray, found: Hits, mask: np.ndarray | None) -> Hits:
        """One query's list, filled up from the groups that have room."""
        k, times = found.ids.shape[1], FETCH[0]
        best = Hits(found.ids[row], found.scores[row])
        while best.ids[0, -1] < 0:
            held = best.ids[0][best.ids[0] >= 0]
            room = self._room(held, self.catalogue.everything if mask is None else mask)
            more = self.search(row, min(times * (k - len(held)), int(room.sum())) or 1, room, 1.0)
            if not more.ids.shape[1] or more.ids[0, 0] < 0:
                break
            width = len(held)
            both = Hits(
                np.concatenate([best.ids[:, :width], more.ids], 1),
                np.concatenate([best.scores[:, :width], more.scores], 1),
            )
            best, times = self._walked(both, k), 2 * times
        order = np.argsort(-best.scores, axis=1, kind="stable")
        return Hits(np.take_along_axis(best.ids, order, 1), np.take_along_axis(best.scores, order, 1))

    def _room(self, held: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """[n + m] what may still be taken when `held` are."""
        room = mask.copy()
        room[held] = False
        for name, cap in self.caps.items():
            counted = self.catalogue.column(name, held)
            values, counts = np.unique(counted[counted >= 0], return_counts=True)
            column = self.catalogue.whole_column(name)
            full = np.zeros(int(column.max(initial=0)) + 2, dtype=bool)  # its last place is that of -1
            full[values[counts >= cap]] = True
            room &= ~full[column]
        return room


def _of_rows(mask: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return mask if mask is None or mask.ndim == 1 else mask[rows]


def _put(found: Hits, rows: np.ndarray, hits: Hits) -> None:
    found.ids[rows], found.scores[rows] = hits.ids, hits.scores


@njit(cache=True)
def _walk(ids: np.ndarray, groups: np.ndarray, limits: np.ndarray, k: int) -> np.ndarray:
    """[B, k] columns of ids [B, W] taken in order while each of their groups [B, W, C] has room; -1 for none."""
    taken = np.full((ids.shape[0], k), -1, dtype=np.int64)
    for row in range(ids.shape[0]):
        count = 0
        for column in range(ids.shape[1]):
            if count == k or ids[row, column] < 0:
                break
            fits = True
            for cap in range(len(limits)):
                group, used = groups[row, column, cap], 0
                if group >= 0:
                    for before in range(count):
                        used += groups[row, taken[row, before], cap] == group
                fits = fits and used < limits[cap]
            if fits:
                taken[row, count] = column
                count += 1
    return taken
