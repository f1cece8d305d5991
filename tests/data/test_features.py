"""Features and histories against a slow loop that sees nothing but events strictly before the moment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.features import LONG, MIDDLE, SHORT, Events, FeatureStore
from recsys.data.spec import DAY
from recsys.data.timeline import Timeline

ITEMS, USERS = 7, 5
CATEGORIES = {"aisle": np.array([0, 1, 2, 2, 3, 3, 3])}
rows = st.lists(
    st.tuples(st.integers(2, USERS - 1), st.integers(2, ITEMS - 1), st.integers(0, 400)), min_size=1, max_size=60
)


def store_of(held: list[tuple[int, int, int]]) -> FeatureStore:
    user, item, time = (np.array(column, dtype=np.int64) for column in zip(*held, strict=True))
    return FeatureStore(Events(user, item, time * (DAY // 4)), CATEGORIES, ITEMS)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 420))
def test_counts_and_last_times_are_those_of_a_loop(held: list[tuple[int, int, int]], moment: int) -> None:
    keys = np.array([user for user, _, _ in held])
    times = np.array([time for _, _, time in held])
    line = Timeline(keys, times)
    asked = np.arange(USERS + 2)
    when = np.full(len(asked), moment)
    for window in (None, 30):
        low = -1 if window is None else moment - window
        slow = [sum(k == a and max(low, 0) <= t < moment for k, t in zip(keys, times, strict=True)) for a in asked]
        assert line.count_before(asked, when, window).tolist() == slow
    slow_last = [max((t for k, t in zip(keys, times, strict=True) if k == a and t < moment), default=-1) for a in asked]
    assert line.last_before(asked, when).tolist() == slow_last


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(0, 420))
def test_features_are_those_of_a_loop(held: list[tuple[int, int, int]], quarter: int) -> None:
    moment = quarter * (DAY // 4)
    past = [(user, item, time * (DAY // 4)) for user, item, time in held if time * (DAY // 4) < moment]
    store = store_of(held)
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(2, USERS), np.arange(2, ITEMS), indexing="ij"))
    found = store.compute(user, item, np.full(len(user), moment))
    assert np.isfinite(found).all()
    column = {name: found[:, place] for place, name in enumerate(store.names)}
    for row, (u, i) in enumerate(zip(user.tolist(), item.tolist(), strict=True)):
        own = sorted(t for a, b, t in past if (a, b) == (u, i))
        sold = [t for _, b, t in past if b == i]
        assert column["pair_count"][row] == pytest.approx(np.log1p(len(own)))
        assert column["pair_count_28d"][row] == pytest.approx(np.log1p(sum(t >= moment - MIDDLE for t in own)))
        assert column["pair_never"][row] == (not own)
        age = (moment - own[-1]) / DAY if own else 0
        assert column["pair_recency"][row] == pytest.approx(np.log1p(age) / np.log1p(365), abs=1e-6)
        gap = (own[-1] - own[0]) / DAY / (len(own) - 1) if len(own) > 1 else 0
        assert column["pair_gap"][row] == pytest.approx(np.log1p(gap) / np.log1p(365), abs=1e-6)
        assert column["item_count_7d"][row] == pytest.approx(np.log1p(sum(t >= moment - SHORT for t in sold)) / 3)
        mine = [CATEGORIES["aisle"][b] for a, b, t in past if a == u and t >= moment - LONG]
        alike = sum(c == CATEGORIES["aisle"][i] for c in mine)
        assert column["affinity_aisle_count"][row] == pytest.approx(np.log1p(alike) / 3, abs=1e-6)
        assert column["affinity_aisle_share"][row] == pytest.approx(alike / max(len(mine), 1), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(rows, rows, st.integers(1, 420))
def test_the_future_changes_nothing(
    held: list[tuple[int, int, int]], more: list[tuple[int, int, int]], quarter: int
) -> None:
    past = [row for row in held if row[2] < quarter] or [(2, 2, 0)]
    future = [(user, item, quarter + time) for user, item, time in more]
    moment = quarter * (DAY // 4)
    alone, both = store_of(past), store_of(past + future)
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(2, USERS), np.arange(2, ITEMS), indexing="ij"))
    when = np.full(len(user), moment)
    np.testing.assert_array_equal(alone.compute(user, item, when), both.compute(user, item, when))
    users, moments = np.arange(2, USERS), np.full(USERS - 2, moment)
    for a, b in zip(alone.history(users, moments, 5), both.history(users, moments, 5), strict=True):
        np.testing.assert_array_equal(a, b)
    for u in users:
        np.testing.assert_array_equal(alone.seen(int(u), moment), both.seen(int(u), moment))


def test_histories_are_the_last_items_oldest_first() -> None:
    store = store_of([(2, 3, 4), (2, 4, 8), (2, 5, 12), (3, 6, 8)])
    items, ages, offsets = store.history(np.array([2, 3, 4]), np.array([12, 9, 9]) * (DAY // 4), 2)
    assert items.tolist() == [3, 4, 6], "the event at the very moment of the request isn't part of its history"
    assert offsets.tolist() == [0, 2, 3, 3]
    assert ages.tolist() == [2.0, 1.0, 0.25]
