"""Counts and places of events before a moment: the one primitive behind histories and features."""

from __future__ import annotations

import numpy as np


class Timeline:
    """(key, time) pairs in order of key, then time; questions are answered by binary search.

    keys and times are int64 [n] with keys >= 0 and times >= 0. `order` is the stable sort order of the input.
    """

    def __init__(self, keys: np.ndarray, times: np.ndarray) -> None:
        self.order = np.lexsort((times, keys))
        self.keys, self.starts = np.unique(keys[self.order], return_index=True)
        self.stops = np.append(self.starts[1:], len(keys))
        self.times = times[self.order]
        self.base = int(times.min()) - 1 if len(times) else 0
        self.span = int(times.max()) - self.base + 2 if len(times) else 1
        # one ascending number per event: place of its key, then its time
        self.codes = np.repeat(np.arange(len(self.keys)), self.stops - self.starts) * self.span + self.times - self.base

    def bounds(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Place of each key among the known keys (0 where unknown), whether it is known, and where its events begin."""
        if not len(self.keys):
            zero = np.zeros(len(keys), np.int64)
            return zero, zero.astype(bool), zero
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = self.keys[place] == keys
        return place, known, np.where(known, self.starts[place], 0)

    def rank(self, place: np.ndarray, known: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Number of sorted events before (key, time), over all keys: the stop of the slice strictly before time."""
        clipped = np.clip(times - self.base, 0, self.span - 1)
        return np.where(known, np.searchsorted(self.codes, place * self.span + clipped), 0)

    def count_before(self, keys: np.ndarray, times: np.ndarray, window: float | None = None) -> np.ndarray:
        """Events of each key in [time - window, time), or in all of the past; int64 [q]."""
        place, known, start = self.bounds(keys)
        stop = self.rank(place, known, times)
        begin = start if window is None else self.rank(place, known, times - int(window))
        return stop - begin

    def last_before(self, keys: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Time of each key's last event strictly before time, -1 if there is none; int64 [q]."""
        place, known, start = self.bounds(keys)
        stop = self.rank(place, known, times)
        found = stop > start
        if not len(self.times):
            return np.full(len(keys), -1)
        return np.where(found, self.times[np.maximum(stop - 1, 0)], -1)

    def first(self, keys: np.ndarray) -> np.ndarray:
        """Time of each key's first event, -1 for an unknown key; int64 [q]. Look at it only with a count before."""
        _, known, start = self.bounds(keys)
        return np.where(known, self.times[start], -1) if len(self.times) else np.full(len(keys), -1)

    def slice_before(
        self, keys: np.ndarray, times: np.ndarray, limit: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the last `limit` events strictly before time begin and stop in the sorted order."""
        place, known, start = self.bounds(keys)
        stop = np.maximum(self.rank(place, known, times), start)
        return (start if limit is None else np.maximum(start, stop - limit)), stop
