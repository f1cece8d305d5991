"""Items laid out and items changed since are one catalogue: a search finds what is in force now, wherever it lies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.index.exact import Hits, exact_search
from recsys.index.inverted import widened
from recsys.index.planner import best_of
from recsys.index.recent import Recent
from recsys.index.stored import Stored
from recsys.index.traits import Traits

SPARE = 8  # hits fetched beyond k for the dead ones among them, at least


@dataclass(frozen=True)
class Catalogue:
    """Places 0..n-1 are those of the layout, n..n+m-1 those of what is recent."""

    stored: Stored
    recent: Recent

    def __len__(self) -> int:
        return len(self.stored) - len(self.recent.dead) + len(self.recent)

    @cached_property
    def ids(self) -> np.ndarray:
        """[items in force] int64, by place."""
        if not len(self.recent) and not len(self.recent.dead):
            return self.stored.ids.every
        return np.concatenate([self.stored.ids.every[self._alive], self.recent.ids])

    def at(self, places: np.ndarray) -> np.ndarray:
        """The ids at these places; -1 where a place is -1."""
        size = len(self.stored)
        ids = self.stored.ids.at(np.where(places < size, places, -1))
        late = places >= size
        ids[late] = self.recent.ids[places[late] - size]
        return ids

    def column(self, name: str, places: np.ndarray) -> np.ndarray:
        """The groups of this name at these places; -1 where a place is -1."""
        size = len(self.stored)
        early = self.stored.traits.groups[name][np.where((places >= 0) & (places < size), places, 0)]
        groups = np.where(places >= 0, early, -1)
        late = places >= size
        groups[late] = self.recent.traits.groups[name][places[late] - size]
        return groups

    def whole_column(self, name: str) -> np.ndarray:
        """[n + m] the groups of this name, by place."""
        return np.concatenate([self.stored.traits.groups[name], self.recent.traits.groups[name]])

    def visible(self, allowed: np.ndarray | None) -> np.ndarray | None:
        """Mask [..., n + m] over places in force whose ids are allowed [..., V]; None, all that are in force, for None."""
        if allowed is None:
            return None
        early = self.stored.ids.mask(allowed)
        if len(self.recent.dead):
            early = early & self._alive
        if not len(self.recent):
            return early
        width = allowed.shape[-1]
        late = allowed[..., np.minimum(self.recent.ids, width - 1)] & (self.recent.ids < width)
        return np.concatenate([early, late], axis=-1)

    @cached_property
    def everything(self) -> np.ndarray:
        """[n + m] the places in force."""
        return np.concatenate([self._alive, np.ones(len(self.recent), dtype=bool)])

    def nearest(self, queries: np.ndarray, k: int, mask: np.ndarray | None, weight: float, deeper: float = 1.0) -> Hits:
        """Exactly min(k, places allowed) places of each query [B, D], best first; `mask` [n + m] is as from `visible`."""
        if self.stored.traits.prior is not None:
            queries = widened(queries, np.full(len(queries), weight, np.float32))
        size = len(self.stored)
        if mask is None:
            hits, late = self._undead(queries, k, weight, deeper), None
        else:
            hits, late = self.stored.search(queries, k, mask[:size], weight, deeper), mask[size:]
        if not len(self.recent):
            return hits
        fresh = exact_search(self._rows, self._late, queries, k, late, self.stored.metric)
        return best_of([hits, fresh], min(k, hits.ids.shape[1] + fresh.ids.shape[1]))

    def _undead(self, queries: np.ndarray, k: int, weight: float, deeper: float) -> Hits:
        """Without a filter the few dead are left out afterwards; a mask as long as the catalogue would cost more."""
        dead = self.recent.dead
        if not len(dead):
            return self.stored.search(queries, k, None, weight, deeper)
        alive = len(self.stored) - len(dead)
        k = min(k, alive)
        hits = self.stored.search(queries, k + min(len(dead), SPARE + k // 8), None, weight, deeper)
        at = np.minimum(np.searchsorted(dead, hits.ids), len(dead) - 1)
        gone = dead[at] == hits.ids
        order = np.argsort(gone, axis=1, kind="stable")[:, :k]
        ids, scores = (np.take_along_axis(held, order, axis=1) for held in (hits.ids, hits.scores))
        short = np.flatnonzero(np.take_along_axis(gone, order, axis=1).any(1))
        if len(short):
            again = self.stored.search(queries[short], k, self._alive, weight, deeper)
            ids[short], scores[short] = again.ids, again.scores
        return Hits(ids, scores)

    @cached_property
    def _alive(self) -> np.ndarray:
        alive = np.ones(len(self.stored), dtype=bool)
        alive[self.recent.dead] = False
        return alive

    @cached_property
    def _rows(self) -> np.ndarray:
        """[m, D or D + 1] vectors of what is recent, as the engine would keep them."""
        prior = self.recent.traits.prior
        return self.recent.vectors if prior is None else widened(self.recent.vectors, prior)

    @cached_property
    def _late(self) -> np.ndarray:
        return np.arange(len(self.recent)) + len(self.stored)

    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """At most `count` items in force, evenly over the places: ids [m] and vectors [m, D] as they are kept."""
        places, size = spread(np.flatnonzero(self.everything), count), len(self.stored)
        early, late = places[places < size], places[places >= size] - size
        return self.at(places), np.concatenate([self.stored.vectors(early), self.recent.vectors[late]])

    def whole(self) -> tuple[np.ndarray, np.ndarray, Traits]:
        """Vectors [items, D], ids and traits of all items in force, by id: what a build from scratch is given."""
        places = np.flatnonzero(self._alive)
        ids = np.concatenate([self.stored.ids.every[places], self.recent.ids])
        order = np.argsort(ids)
        vectors = np.concatenate([self.stored.vectors(places), self.recent.vectors])[order]
        return vectors, ids[order], self.stored.traits.take(places).joined(self.recent.traits).take(order)


def spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` rows, at equal distances from the first to the last."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64))]
