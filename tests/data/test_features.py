from __future__ import annotations

import time as clock
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.features import LOG_YEAR, Events, FeatureStore
from recsys.data.spec import DAY
from recsys.data.taste import PERIOD, RIDGE, WARM_UP

USERS, ITEMS = 4, 8
KINDS = np.array([0, 1, 2, 3, 2, 3, 2, 3])
# a coarse grid of moments makes ties, and meets the edges of the windows exactly
moments = st.integers(0, 30).map(lambda step: 1_000_000_000 + step * 7 * DAY // 2)
lines = st.tuples(st.integers(2, USERS - 1), st.integers(2, ITEMS - 1), moments)


def store_of(events: list[tuple[int, int, int]]) -> FeatureStore:
    user, item, time = np.array(events, np.int64).reshape(-1, 3).T
    return FeatureStore(Events(user, item, time), {"kind": KINDS}, ITEMS)


def slow(events: list[tuple[int, int, int]], user: int, item: int, now: int) -> list[float]:
    """The features by their definitions, from a list of the events before now."""
    past = sorted((t, u, i) for u, i, t in events if t < now)
    pair = [t for t, u, i in past if (u, i) == (user, item)]
    sold = [t for t, u, i in past if i == item]
    visits = [t for t, u, i in past if u == user]
    kind = [t for t, u, i in past if u == user and KINDS[i] == KINDS[item]]

    def within(times: list[int], days: int) -> int:
        return sum(t >= now - days * DAY for t in times)

    age = (now - pair[-1]) / DAY if pair else 0.0
    gap = (pair[-1] - pair[0]) / DAY / (len(pair) - 1) if len(pair) > 1 else 0.0
    due = min(age / max(gap, 0.5), 4) / 2 if gap > 0 else 0.0
    buyers = Counter(u for t, u, i in past if i == item)
    newcomers = [min(t for t, u, i in past if (u, i) == (buyer, item)) for buyer in buyers]
    repeats = sum(count - 1 for count in buyers.values())
    return [
        *np.log1p([len(pair), within(pair, 28), within(pair, 91)]),
        np.log1p(age) / LOG_YEAR, float(not pair), np.log1p(gap) / LOG_YEAR, due,
        *np.log1p([within(sold, 7), within(sold, 28), within(sold, 91), within(newcomers, 28)]) / 3,
        np.log((within(sold, 7) + 1) / (within(sold, 28) / 4 + 1)),
        (repeats + 3.0) / (len(sold) + 10.0),
        np.log1p(within(visits, 28)) / 3,
        np.log1p((now - visits[-1]) / DAY) / LOG_YEAR if visits else 1.0,
        np.log1p(within(kind, 91)) / 3,
        within(kind, 91) / max(within(visits, 91), 1),
        *tastes(past, user, item, now),
    ]  # fmt: skip


def tastes(past: list[tuple[int, int, int]], user: int, item: int, now: int) -> list[float]:
    """Both features by EASE's own definition, over items: few users leave nothing out of the factors."""
    period = now // PERIOD * PERIOD
    if not past or period - past[0][0] < WARM_UP:
        return [0.0, 0.0]

    def weights(stop: int) -> np.ndarray:
        counts = np.zeros((USERS, ITEMS))
        for t, u, i in past:
            counts[u, i] += t < stop
        return np.log1p(counts)

    x = weights(period)
    inverse = np.linalg.inv(x.T @ x + RIDGE * np.eye(ITEMS))
    score = max((weights(now)[user] @ (np.eye(ITEMS) - RIDGE * inverse))[item] / (RIDGE * inverse[item, item]), 0)
    return [min(score, 3.0), np.log1p(100 * score) / 3]


@given(events=st.lists(lines, max_size=40), asked=st.lists(lines, min_size=1, max_size=8))
@settings(max_examples=120, deadline=None)
def test_features_equal_their_definitions_on_what_lies_strictly_before(
    events: list[tuple[int, int, int]], asked: list[tuple[int, int, int]]
) -> None:
    held = store_of(events)
    found = held.compute(*np.array(asked).T)
    assert found.shape == (len(asked), len(held.names))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, [slow(events, *row) for row in asked], rtol=1e-6, atol=1e-6)


@given(events=st.lists(lines, max_size=40), later=st.lists(lines, max_size=20), row=lines)
@settings(max_examples=120, deadline=None)
def test_events_at_or_after_the_moment_change_nothing_to_the_bit(
    events: list[tuple[int, int, int]], later: list[tuple[int, int, int]], row: tuple[int, int, int]
) -> None:
    now = row[2]
    past = [event for event in events if event[2] < now]
    future = [event for event in later if event[2] >= now]
    few, many = store_of(past), store_of(past + future)
    asked = np.array([row, row]).T
    assert np.array_equal(few.compute(*asked), many.compute(*asked))
    for one, other in zip(few.history(asked[0], asked[2], 5), many.history(asked[0], asked[2], 5), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(few.seen(row[0], now), many.seen(row[0], now))
    assert np.array_equal(few.popular(now, 5, window_days=28), many.popular(now, 5, window_days=28))


@given(events=st.lists(lines, max_size=40), asked=st.lists(lines, min_size=1, max_size=6), limit=st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_histories_are_the_last_items_before_oldest_first(
    events: list[tuple[int, int, int]], asked: list[tuple[int, int, int]], limit: int
) -> None:
    user, _, time = np.array(asked).T
    values, ages, offsets = store_of(events).history(user, time, limit)
    for place, (who, _, now) in enumerate(asked):
        past = sorted(((t, n, i) for n, (u, i, t) in enumerate(events) if u == who and t < now))[-limit:]
        assert values[offsets[place] : offsets[place + 1]].tolist() == [i for _, _, i in past]
        expected = [(now - t) / DAY for t, _, _ in past]
        np.testing.assert_allclose(ages[offsets[place] : offsets[place + 1]], expected, rtol=1e-6)
    assert (ages > 0).all()


@given(events=st.lists(lines, max_size=40), user=st.integers(2, USERS - 1), now=moments, days=st.sampled_from([7, 28]))
@settings(max_examples=100, deadline=None)
def test_seen_and_popular_are_ordered_by_count(
    events: list[tuple[int, int, int]], user: int, now: int, days: int
) -> None:
    past = [(u, i, t) for u, i, t in events if t < now]
    own = Counter(i for u, i, _ in past if u == user)
    last = {i: max((t, n) for n, (u, k, t) in enumerate(past) if (u, k) == (user, i)) for i in own}
    expected = sorted(own, key=lambda item: (own[item], last[item]), reverse=True)
    assert store_of(events).seen(user, now).tolist() == expected
    recent = Counter(i for _, i, t in past if t >= now - days * DAY) or Counter(i for _, i, _ in past)
    popular = sorted(recent, key=lambda item: (-recent[item], item))[:3]
    assert store_of(events).popular(now, 3, window_days=days).tolist() == popular


def test_no_rows_give_no_features_and_strangers_have_no_past() -> None:
    held = store_of([(2, 2, 1_000_000_000)])
    none = np.zeros(0, np.int64)
    assert held.compute(none, none, none).shape == (0, len(held.names))
    features = dict(
        zip(held.names, held.compute(np.array([1]), np.array([1]), np.array([2_000_000_000]))[0], strict=True)
    )
    assert features["pair_never"] == features["user_recency"] == 1
    assert features["pair_count"] == features["item_count_91d"] == 0


def test_one_users_rows_cost_no_look_at_all_events() -> None:
    rows = 500
    random = np.random.default_rng(0)

    def seconds(size: int) -> float:
        time = 1_000_000_000 + np.sort(random.integers(0, 300 * DAY, size))
        events = Events(random.integers(2, size // 100, size), random.integers(2, 5000, size), time)
        held = FeatureStore(events, {"kind": np.arange(5000) % 30}, 5000)
        asked = (np.full(rows, 5), random.integers(2, 5000, rows), np.full(rows, time[-1]))
        held.compute(*asked)
        spent = []
        for _ in range(15):
            start = clock.process_time()
            held.compute(*asked)
            spent.append(clock.process_time() - start)
        return min(spent)

    assert seconds(400_000) < 5 * seconds(10_000)
