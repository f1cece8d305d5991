"""How long the catalogue takes on so many cores, from what its units were measured to take."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def makespan(seconds: Sequence[float], cores: int) -> float:
    """Wall seconds of independent units on equal cores, longest first (Graham, 1969: at most 4/3 of the best)."""
    ends = [0.0] * cores
    for spent in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + spent)
    return max(ends)
