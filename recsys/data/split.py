"""Train, validation and test by time, so that nothing of the future helps."""

from __future__ import annotations

import calendar
import time as clock
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys.value import require, value


@value
class SplitSpec:
    """`global_time`: one pair of moments for all users. `leave_last_out`: a user's last two event times.

    Moments are dates ("2017-12-01") or seconds; where they aren't given, the source's own win, then shares of events.
    """

    kind: Literal["global_time", "leave_last_out"] = "global_time"
    validation_start: str | int | None = None
    test_start: str | int | None = None
    validation_share: float = 0.1
    test_share: float = 0.1

    def __post_init__(self) -> None:
        for name in ("validation_share", "test_share"):
            require(0 < getattr(self, name) < 0.5, f"data.split.{name} must lie in (0, 0.5), got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Per user index, seconds: train is before `validation`, validation before `test`, test before `end`."""

    validation: np.ndarray
    test: np.ndarray
    end: np.ndarray

    def part(self, user: np.ndarray, time: np.ndarray) -> np.ndarray:
        """0 train, 1 validation, 2 test; int8 [n]."""
        return ((time >= self.validation[user]).astype(np.int8) + (time >= self.test[user])).astype(np.int8)


def moments(spec: SplitSpec, times: np.ndarray, fixed: tuple[int, int] | None) -> tuple[int, int]:
    """The global starts of validation and test. Raises ValueError when a split would be empty."""
    ordered = np.sort(times, kind="stable")
    count = len(ordered)
    by_share = (
        int(ordered[int(count * (1 - spec.test_share - spec.validation_share))]),
        int(ordered[int(count * (1 - spec.test_share))]),
    )
    given = (spec.validation_start, spec.test_start)
    chosen = [seconds_of(told) if told is not None else (fixed or by_share)[place] for place, told in enumerate(given)]
    validation, test = chosen
    require(
        bool(ordered[0] < validation < test <= ordered[-1]),
        f"split times validation_start={validation}, test_start={test} must lie in order inside the events' time "
        f"{ordered[0]} .. {ordered[-1]}: set data.spec.split.validation_start and test_start",
    )
    return validation, test


def boundaries(
    spec: SplitSpec, user: np.ndarray, time: np.ndarray, num_users: int, starts: tuple[int, int]
) -> Boundaries:
    """Boundaries of every user; events must be sorted by user, then time."""
    end = int(time.max()) + 1
    if spec.kind == "global_time":
        full = [np.full(num_users, moment, np.int64) for moment in (*starts, end)]
        return Boundaries(*full)
    fresh = np.append(True, (user[1:] != user[:-1]) | (time[1:] != time[:-1]))
    visits_user, visits_time = user[fresh], time[fresh]
    last = np.full(num_users, end, np.int64)
    before = np.full(num_users, end, np.int64)
    stop = np.append(np.flatnonzero(visits_user[1:] != visits_user[:-1]), len(visits_user) - 1)
    begin = np.append(0, stop[:-1] + 1)
    enough = stop - begin >= 2  # a user with fewer than three visits stays in train
    last[visits_user[stop[enough]]] = visits_time[stop[enough]]
    before[visits_user[stop[enough]]] = visits_time[stop[enough] - 1]
    return Boundaries(before, last, np.full(num_users, end, np.int64))


def seconds_of(told: str | int) -> int:
    """Seconds since 1970 (UTC) of a date, a date with time, or seconds."""
    if isinstance(told, int):
        return told
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"):
        try:
            return calendar.timegm(clock.strptime(told, form))
        except ValueError:
            continue
    raise ValueError(f"{told!r} isn't a date such as 2017-12-01 or 2017-12-01T00:00:00, nor seconds since 1970")
