"""Two programs are compared in one run, turn by turn, and one of them with itself: the machine is part of the result."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of each arm, round by round; the first arm ran twice in every round, under its name and as a control."""

    seconds: Mapping[str, tuple[float, ...]]  # arm -> one number a round
    control: tuple[float, ...]  # the first arm again

    def median(self, arm: str) -> float:
        return median(self.seconds[arm])

    def ratio(self, slow: str, fast: str) -> float:
        """How many times longer `slow` takes than `fast`: the median over rounds, each compared within itself."""
        return median(s / f for s, f in zip(self.seconds[slow], self.seconds[fast], strict=True))

    @property
    def aa_ratio(self) -> float:
        """The first arm against itself: 1 on a quiet machine. Its distance from 1 is what a ratio can't resolve."""
        first = next(iter(self.seconds.values()))
        return median(c / s for s, c in zip(first, self.control, strict=True))

    def quiet(self, tolerance: float = 0.1) -> bool:
        return abs(self.aa_ratio - 1) <= tolerance

    def to_json(self) -> dict[str, Any]:
        medians = {arm: self.median(arm) for arm in self.seconds}
        return {"medians": medians, "aa_ratio": self.aa_ratio, "rounds": len(self.control), **asdict(self)}


def interleave(
    arms: Mapping[str, Callable[[], Any]],
    rounds: int = 7,
    clock: Callable[[], float] = time.process_time,
) -> Timings:
    """Run every arm once a round, in an order that changes with the round; one untimed round first.

    The clock is the CPU time of this process with all its threads, which other processes disturb little; give
    time.perf_counter for arms that wait or that work in other processes.
    """
    names = list(arms)
    turns = [*names, None]  # None is the control
    for arm in arms.values():
        arm()
    seconds: dict[str | None, list[float]] = {turn: [] for turn in turns}
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(turns)
        for turn in turns:
            begin = clock()
            arms[names[0] if turn is None else turn]()
            seconds[turn].append(clock() - begin)
    return Timings({name: tuple(seconds[name]) for name in names}, tuple(seconds[None]))
