"""A few thousand queries make up most of what is typed; their vectors needn't be computed again."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor

from recsys.value import require


def normalised(text: str) -> str:
    """Case and spaces folded; the order of words stays, since it may matter."""
    return " ".join(text.casefold().split())


class QueryCache:
    """Vectors by query text, encoder and index version; the least recently used goes first, the old go by themselves.

    The version is part of the key: a vector of another encoder, or meant for another index, is never found.
    """

    def __init__(self, capacity: int, seconds_to_live: float = float("inf"), version: str = "") -> None:
        require(capacity >= 1, f"capacity must be at least 1, got {capacity}")
        require(seconds_to_live > 0, f"seconds_to_live must be positive, got {seconds_to_live}")
        self.capacity, self.seconds_to_live, self.version = capacity, seconds_to_live, version
        self.hits = self.misses = 0
        self._held: OrderedDict[tuple[str, str], tuple[float, Tensor]] = OrderedDict()

    def get(self, text: str, now: float) -> Tensor | None:
        """The vector, or None; `now` in seconds of any clock that doesn't run backwards."""
        key = (self.version, normalised(text))
        found = self._held.get(key)
        if found is None or now - found[0] >= self.seconds_to_live:
            self.misses += 1
            return None
        self.hits += 1
        self._held.move_to_end(key)
        return found[1]

    def put(self, text: str, vector: Tensor, now: float) -> None:
        key = (self.version, normalised(text))
        self._held[key] = (now, vector)
        self._held.move_to_end(key)
        while len(self._held) > self.capacity:
            self._held.popitem(last=False)

    def __len__(self) -> int:
        return len(self._held)
