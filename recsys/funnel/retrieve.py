"""Candidates come from three places: what is near the query, what the user took before, and what everybody takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.data.spec import FIRST
from recsys.funnel.ladder import FEWER, FULL
from recsys.funnel.popularity import Popularity
from recsys.funnel.request import Asked, FunnelSpec
from recsys.index.vector_index import VectorIndex

Watch = Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[np.ndarray]], None]


@dataclass(frozen=True, slots=True)
class Pairs:
    """(request, item) pairs to rank, in order of request, then item; no pair stands twice."""

    row: np.ndarray  # [R] int64, place of the request in its batch
    item: np.ndarray  # [R] int64
    depth: np.ndarray  # [R] float32, how far down its best list the item stood: 0 is the top, 1 the end

    def take(self, keep: np.ndarray) -> Pairs:
        return Pairs(self.row[keep], self.item[keep], self.depth[keep])

    def counts(self, rows: int) -> np.ndarray:
        return np.bincount(self.row, minlength=rows)


def allowed_mask(asked: Asked, blocked: np.ndarray, seen: Sequence[np.ndarray]) -> np.ndarray:
    """What may be shown: [V] where one mask serves all requests, else [B, V]."""
    shared = ~blocked
    if not asked.hide_seen.any() and not any(map(len, asked.exclude)):
        return shared
    mask = np.repeat(shared[None], len(asked), axis=0)
    for row, excluded in enumerate(asked.exclude):
        mask[row, excluded] = False
        if asked.hide_seen[row]:
            mask[row, seen[row]] = False
    return mask


@dataclass(frozen=True, slots=True)
class Retriever:
    """The union of the index's, the user's own and the popular items, of those that are allowed."""

    index: VectorIndex
    popularity: Popularity
    spec: FunnelSpec
    watch: Watch | None = None  # sees queries [B, D], what was found [B, k], what was allowed, and each user's past

    def __call__(self, asked: Asked, query: np.ndarray, seen: Sequence[np.ndarray], allowed: np.ndarray) -> Pairs:
        """Pairs for queries [B, D]; every request gets at least min(k, allowed items) candidates."""
        wanted = max(self.spec.index_candidates, int(asked.k.max()))
        found = self.nearest(query, wanted, allowed)
        if self.watch is not None:
            self.watch(query, found, allowed, seen)
        rows, width = found.shape
        every = np.arange(rows)
        lists = [(np.repeat(every, width), found.ravel(), np.tile(np.arange(width) / wanted, rows))]
        for row in every:
            mask = allowed if allowed.ndim == 1 else allowed[row]
            own = seen[row][mask[seen[row]]][: self.spec.own_history]
            lists.append(_listed(row, own, self.spec.own_history))
            popular = self._popular(asked, row)
            lists.append(
                _listed(row, _first(popular, mask, self.spec.popular_candidates), self.spec.popular_candidates)
            )
        row, item, depth = (np.concatenate(column) for column in zip(*lists, strict=True))
        return _union(row, item, depth.astype(np.float32), len(allowed.T))

    def reduced(self, asked: Asked, pairs: Pairs, rung: np.ndarray) -> Pairs:
        """The pairs that requests [B] on these rungs are ranked with; never fewer than the k that were asked for."""
        wanted = max(self.spec.index_candidates, int(asked.k.max()))
        fewer = np.maximum(self.spec.reduced_share, asked.k / wanted)
        share = np.select([rung == FULL, rung == FEWER], [np.inf, fewer], 0.0)
        return pairs if (rung == FULL).all() else pairs.take(pairs.depth < share[pairs.row])

    def nearest(self, query: np.ndarray, k: int, allowed: np.ndarray) -> np.ndarray:
        """Items nearest to each query, [B, k] with -1 where there are no more."""
        # the index holds neither padding nor unknown, so a mask that blocks only them needs no filter
        free = allowed.ndim == 1 and bool(allowed[FIRST:].all())
        return self.index.search(query, k, allowed=None if free else allowed).ids

    def _popular(self, asked: Asked, row: int) -> np.ndarray:
        window = self.spec.popular_window_days
        return self.popularity.ranking(int(asked.time[row]), int(asked.surface[row]), window).items


def _listed(row: int, items: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full(len(items), row), items, np.arange(len(items)) / max(limit, 1)


def _first(items: np.ndarray, mask: np.ndarray, limit: int) -> np.ndarray:
    """The first `limit` items that are allowed."""
    head = items[: 2 * limit]
    head = head[mask[head]]
    return head[:limit] if len(head) >= limit or len(items) <= 2 * limit else items[mask[items]][:limit]


def _union(row: np.ndarray, item: np.ndarray, depth: np.ndarray, num_items: int) -> Pairs:
    there = item >= 0
    code, depth = (row * num_items + item)[there], depth[there]
    order = np.lexsort((depth, code))
    code, depth = code[order], depth[order]
    fresh = np.ones(len(code), dtype=bool)
    fresh[1:] = code[1:] != code[:-1]
    return Pairs(code[fresh] // num_items, code[fresh] % num_items, depth[fresh])
