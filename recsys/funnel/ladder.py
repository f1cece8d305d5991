"""A late answer is a failed answer: when time is short, a request goes down a rung instead of being late."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

FULL, FEWER, POPULAR = 0, 1, 2
NAMES = {FEWER: "fewer_candidates", POPULAR: "popular_list"}
MEMORY = 0.9  # weight of the past in the running means
FORGIVENESS = (
    0.98  # every refusal lowers the estimates a little, so that one slow batch isn't held against all later ones
)


class Ladder:
    """Running means of what the stages cost, and the rung that a request can still afford."""

    def __init__(self, reduced_share: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self.reduced_share = reduced_share
        self.clock = clock
        self.prepare = 0.0  # seconds of a batch up to its candidates
        self.pair = 0.0  # seconds of one candidate from there on
        self.pairs = 0.0  # candidates of a request

    def at_start(self, due: np.ndarray) -> np.ndarray:
        """Rung of each request [B] before anything was done: FULL or POPULAR."""
        needed = self.prepare + self.reduced_share * self.pairs * self.pair
        return self._judge(due, np.where(due - self.clock() < needed, POPULAR, FULL))

    def before_rank(self, due: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Rung of each request [B] that has `pairs` [B] candidates; a batch is ranked together, so all wait for all."""
        left = due - self.clock()
        rung = np.where(left < pairs.sum() * self.pair, FEWER, FULL)
        kept = np.where(rung == FULL, 1.0, self.reduced_share) * pairs
        return self._judge(due, np.where((rung == FEWER) & (left < kept.sum() * self.pair), POPULAR, rung))

    def observe(self, prepare: float, ranked: float, pairs: np.ndarray) -> None:
        """Take in what a batch took: seconds before and from the ranking on, and its candidates [B]."""
        if not pairs.sum():
            return
        self.prepare = _mean(self.prepare, prepare)
        self.pair = _mean(self.pair, ranked / float(pairs.sum()))
        self.pairs = _mean(self.pairs, float(pairs.mean()))

    def _judge(self, due: np.ndarray, rung: np.ndarray) -> np.ndarray:
        rung = np.where(np.isinf(due), FULL, rung)
        if (rung == POPULAR).any():
            self.prepare, self.pair = self.prepare * FORGIVENESS, self.pair * FORGIVENESS
        return rung


def _mean(before: float, seen: float) -> float:
    return seen if before == 0.0 else MEMORY * before + (1 - MEMORY) * seen
