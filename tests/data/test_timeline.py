from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.timeline import Timeline

moment = st.integers(0, 30)
events = st.lists(st.tuples(st.integers(0, 5), moment), max_size=40)
queries = st.lists(st.tuples(st.integers(0, 7), st.integers(-40, 70)), min_size=1, max_size=20)


def columns(pairs: list[tuple[int, int]], offset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    held = np.array(pairs, np.int64).reshape(-1, 2)
    return held[:, 0], held[:, 1] + offset


@given(held=events, asked=queries, window=st.none() | st.integers(1, 40), offset=st.sampled_from([0, 1_500_000_000]))
@settings(max_examples=150, deadline=None)
def test_answers_equal_those_of_a_loop_over_what_lies_strictly_before(
    held: list[tuple[int, int]], asked: list[tuple[int, int]], window: int | None, offset: int
) -> None:
    timeline = Timeline(*columns(held, offset))
    keys, times = columns(asked, offset)
    past = [sorted(t + offset for k, t in held if k == key and t < when) for key, when in asked]
    recent = [[t for t in before if window is None or t >= when + offset - window]
              for before, (_, when) in zip(past, asked, strict=True)]  # fmt: skip
    assert timeline.count_before(keys, times, window).tolist() == [len(inside) for inside in recent]
    assert timeline.last_before(keys, times).tolist() == [before[-1] if before else -1 for before in past]


@given(held=events, asked=queries, limit=st.none() | st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_slices_hold_the_last_events_before(
    held: list[tuple[int, int]], asked: list[tuple[int, int]], limit: int | None
) -> None:
    timeline = Timeline(*columns(held))
    starts, stops = timeline.slice_before(*columns(asked), limit)
    for (key, when), start, stop in zip(asked, starts, stops, strict=True):
        # equal times stay in the order of the input
        past = sorted((t, place) for place, (k, t) in enumerate(held) if k == key and t < when)
        expected = [place for _, place in past][-limit if limit else 0 :]
        assert timeline.order[start:stop].tolist() == expected


@given(held=events, asked=queries)
@settings(max_examples=60, deadline=None)
def test_first_is_a_keys_earliest_event(held: list[tuple[int, int]], asked: list[tuple[int, int]]) -> None:
    keys, _ = columns(asked)
    expected = [min((t for k, t in held if k == key), default=-1) for key in keys]
    assert Timeline(*columns(held)).first(keys).tolist() == expected


def test_large_keys_and_long_times_stay_exact() -> None:
    keys = np.array([2**40, 2**40, 7])
    timeline = Timeline(keys, np.array([100, 4_000_000_000, 5]))
    assert timeline.count_before(keys, np.array([101, 4_000_000_000, 6])).tolist() == [1, 1, 1]
    assert timeline.last_before(keys, np.array([10**12, 100, 5])).tolist() == [4_000_000_000, -1, -1]
