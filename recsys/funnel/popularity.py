"""What is popular depends on when and where: events of the last weeks on a surface, counted per item."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from recsys.data.spec import DAY, FIRST, PADDING

HOUR = 3600
REMEMBERED = 64  # rankings, one for each (hour, surface)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Items that have events, most popular first; those without follow in the vocabulary's order, by train count."""

    items: np.ndarray  # [n] int64
    counts: np.ndarray  # [n] float64, events in the window

    def first(self, allowed: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        """The first `limit` real items that are allowed [V], with their counts."""
        keep = np.flatnonzero(allowed[self.items])[:limit]
        items, counts = self.items[keep], self.counts[keep]
        if len(items) == limit:
            return items, counts
        others = allowed.copy()
        others[:FIRST], others[self.items] = False, False
        others = np.flatnonzero(others)[: limit - len(items)]
        return np.concatenate([items, others]), np.concatenate([counts, np.zeros(len(others))])


class Popularity:
    """Trailing counts of events, as of the full hour before a moment, so that requests of an hour share one ranking."""

    def __init__(self, item: np.ndarray, time: np.ndarray, surface: np.ndarray) -> None:
        order = np.argsort(time, kind="stable")
        self._item, self._time, self._surface = item[order], time[order], surface[order]
        self._held: OrderedDict[tuple[int, int, float], Ranking] = OrderedDict()

    def ranking(self, time: int, surface: int, window_days: float) -> Ranking:
        """Items by events in the window that ends at the hour of `time`; surface PADDING counts all surfaces.

        A surface or window without events falls back to all surfaces, then to all of the past.
        """
        key = (time - time % HOUR, surface, window_days)
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = self._count(*key)
            while len(self._held) > REMEMBERED:
                self._held.popitem(last=False)
        return held

    def _count(self, time: int, surface: int, window_days: float) -> Ranking:
        stop = int(np.searchsorted(self._time, time))
        start = int(np.searchsorted(self._time, time - int(window_days * DAY)))
        items, surfaces = self._item[start:stop], self._surface[start:stop]
        if surface != PADDING and (surfaces == surface).any():
            items = items[surfaces == surface]
        if not len(items):
            items = self._item[:stop]
        found, counts = np.unique(items[items >= FIRST], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return Ranking(found[order].astype(np.int64), counts[order].astype(np.float64))
