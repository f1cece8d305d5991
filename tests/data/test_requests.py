from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.prepare import build_world
from recsys.data.requests import (
    Points,
    RequestSpec,
    World,
    cap,
    context_of,
    points_of,
    positives_of,
    rows_of,
    sampled,
    user_points,
)
from recsys.data.spec import DAY, UNKNOWN
from recsys.data.split import SplitSpec
from recsys.data.tables import Splits
from tests.data.worlds import START, TASKS, WEEK, Shop, spec_of, world_of

SPEC = RequestSpec(every="week", horizon_days=14.0, max_history=10)
STEP = {"visit": 1, "day": DAY, "week": WEEK}


@pytest.fixture(scope="module")
def world() -> World:
    return world_of(Shop())[0]


def events_of(world: World) -> list[tuple[int, int, int]]:
    users = world.store.users
    owner = np.repeat(users.keys, users.stops - users.starts)
    return list(zip(owner.tolist(), world.store.user_items.tolist(), users.times.tolist(), strict=True))


def bounds_of(world: World, part: int, user: int) -> tuple[int, int]:
    held = world.boundaries
    return [(0, held.validation[user]), (held.validation[user], held.test[user]), (held.test[user], held.end[user])][
        part
    ]


@pytest.mark.parametrize(
    ("split", "every"),
    [*((SplitSpec(), every) for every in STEP), (SplitSpec(kind="leave_last_out"), "visit")],
    ids=[*STEP, "leave_last_out"],
)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_points_are_visits_on_the_grid_whose_windows_fit(
    split: SplitSpec, every: Literal["visit", "day", "week"], part: int
) -> None:
    world, _ = world_of(Shop(promotions=False, days=60), replace(SPEC, every=every), split)
    step, expected = STEP[every], set()
    for user, _, time in events_of(world):
        begin = START + (time - START) // step * step
        low, high = bounds_of(world, part, user)
        last = begin + (14 * DAY if part == 0 else 7 * DAY)
        if low <= begin and last <= high:
            expected.add((user, begin, min(begin + 14 * DAY, high)))
    points = points_of(world, every, part, START)
    found = list(zip(points.user.tolist(), points.time.tolist(), points.until.tolist(), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert points.whole.all()


def test_a_train_point_without_a_whole_window_stays_for_its_impressions_alone(world: World) -> None:
    points = points_of(world, "week", 0, START)
    cut = points.take(np.flatnonzero(~points.whole))
    assert len(cut) > 10
    assert (cut.until == world.boundaries.validation[cut.user]).all()
    assert (cut.time + WEEK <= cut.until).all()
    assert len(positives_of(world, cut)[0]) == 0
    rows = rows_of(world, cut, SPEC, 0, "train")
    assert np.isnan(rows.labels[:, 0]).all()
    assert np.array_equal(np.unique(rows.request), np.arange(len(cut)))


@pytest.mark.parametrize("every", ["visit", "week"])
def test_impressions_between_visits_have_requests_of_their_own(world: World, every: str) -> None:
    shown = world.impressions
    assert shown is not None
    away = replace(world, impressions=replace(shown, time=shown.time + 12345))
    points = points_of(away, every, 0, START)
    rows = rows_of(away, points, SPEC, 0, "train")
    used = ~np.isnan(rows.labels[:, 1])
    fits = shown.time + 12345 + WEEK <= world.boundaries.validation[shown.user]
    assert used.sum() == fits.sum() > 500
    assert np.array_equal(np.unique(points.time[rows.request[used]]), np.unique(shown.time[fits] + 12345))
    context = context_of(away, points, at_visit=every == "visit")
    check_contexts(away, points, context, every == "visit")


def check_contexts(world: World, points: Points, context: np.ndarray, at_visit: bool) -> None:
    held = [(*event, *row) for event, row in zip(events_of(world), world.context[world.store.users.order], strict=True)]
    for place in range(0, len(points), 7):
        user, time = points.user[place], points.time[place]
        own = [event for event in held if event[0] == user]
        now = [event[3:] for event in own if event[2] == time and at_visit]
        past = [event[3:] for event in own if event[2] < time]
        expected = now[0] if now else past[-1] if past else (UNKNOWN, UNKNOWN)
        assert tuple(context[place]) == tuple(expected)


@pytest.mark.parametrize("every", ["visit", "day"])
def test_the_context_is_the_visits_own_or_the_last_before(world: World, every: str) -> None:
    points = points_of(world, every, 1, START)
    at_visit = every == "visit"
    check_contexts(world, points, context_of(world, points, at_visit), at_visit)


def test_positives_are_the_distinct_items_of_the_window(world: World) -> None:
    points = sampled(points_of(world, "visit", 0, START), 80, 0, "train")
    request, item = positives_of(world, points)
    assert np.array_equal(np.lexsort((item, request)), np.arange(len(item)))
    for place in range(len(points)):
        user, time, until = points.user[place], points.time[place], points.until[place]
        expected = (
            {i for u, i, t in events_of(world) if u == user and time <= t < until} if points.whole[place] else set()
        )
        assert item[request == place].tolist() == sorted(expected)


@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=20), limit=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_a_cap_keeps_some_of_each_request_in_order(counts: list[int], limit: int) -> None:
    request = np.repeat(np.arange(len(counts)), counts)
    kept = cap(request, limit, np.random.default_rng(0))
    assert (np.diff(kept) > 0).all()
    assert np.bincount(request[kept], minlength=len(counts)).tolist() == [min(limit, count) for count in counts]


def test_a_cap_is_fair() -> None:
    request = np.repeat(np.arange(4000), 10)
    kept = cap(request, 3, np.random.default_rng(0))
    share = np.bincount(kept % 10, minlength=10) / 4000
    assert np.abs(share - 0.3).max() < 5 * np.sqrt(0.21 / 4000)


def test_engage_rows_are_what_was_taken_and_what_was_not(world: World) -> None:
    points = points_of(world, "week", 0, START)
    rows = rows_of(world, points, SPEC, 0, "train")
    engage = ~np.isnan(rows.labels[:, 0])
    taken = set(zip(*(held.tolist() for held in positives_of(world, points)), strict=True))
    pairs = list(zip(rows.request[engage].tolist(), rows.item[engage].tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    assert [pair in taken for pair in pairs] == (rows.labels[engage, 0] == 1).tolist()
    positive = np.bincount(rows.request[engage], rows.labels[engage, 0], len(points))
    every = np.bincount([request for request, _ in taken], minlength=len(points))
    assert np.array_equal(positive, np.minimum(every, SPEC.rows_positives))


def test_weights_make_engage_rows_stand_for_all_that_could_be_taken(world: World) -> None:
    points = points_of(world, "week", 1, START)
    taken = np.bincount(positives_of(world, points)[0], minlength=len(points))
    offered = np.zeros(len(points))
    positives = set(zip(*(held.tolist() for held in positives_of(world, points)), strict=True))
    for place in range(len(points)):
        past = world.store.seen(int(points.user[place]), int(points.time[place]))
        start = int(points.time[place] // WEEK * WEEK)
        popular = world.store.popular(start, 200, window_days=28)
        offered[place] = sum((place, i) not in positives for i in {*past, *popular, *world.offered})
    totals = []
    for seed in range(40):
        rows = rows_of(world, points, SPEC, seed, "validation")
        positive = rows.labels[:, 0] == 1
        found = np.bincount(rows.request[positive], rows.weight[positive], len(points))
        np.testing.assert_allclose(found, taken, rtol=1e-5)
        negative = rows.labels[:, 0] == 0
        totals.append(rows.weight[negative].sum() / offered.sum())
    assert abs(np.mean(totals) - 1) < 5 * np.std(totals) / np.sqrt(len(totals)) + 0.002


def test_impressions_carry_their_place_label_and_weight(world: World) -> None:
    shown, points = world.impressions, points_of(world, "week", 0, START)
    assert shown is not None
    rows = rows_of(world, points, SPEC, 0, "train")
    held = np.flatnonzero(~np.isnan(rows.labels[:, 1]))
    wanted = {
        (u, t, i): (s, p, k, w)
        for u, t, i, s, p, k, w in zip(
            *(
                getattr(shown, name).tolist()
                for name in ("user", "time", "item", "surface", "position", "taken", "weight")
            ),
            strict=True,
        )
    }
    for row in held:
        request = rows.request[row]
        key = (points.user[request], points.time[request], rows.item[row])
        assert (rows.surface[row], rows.position[row], rows.labels[row, 1], rows.weight[row]) == wanted.pop(key)
    left = np.array([key[1] + WEEK > world.boundaries.validation[key[0]] for key in wanted])
    assert left.all()
    assert (rows.weight[held][rows.labels[held, 1] == 0] == 2).all()


def test_labels_of_taken_rows_are_the_first_events(world: World) -> None:
    points = points_of(world, "week", 0, START)
    rows = rows_of(world, points, SPEC, 0, "train")
    columns = [TASKS.index(task) for task in TASKS if task.on == "taken"]
    assert columns == list(world.label_tasks)
    taken = (rows.labels[:, 0] == 1) | (rows.labels[:, 1] == 1)
    assert np.isnan(rows.labels[~taken][:, columns]).all()
    pairs = world.store.pairs
    for row in np.flatnonzero(taken)[::29]:
        user, time = points.user[rows.request[row]], points.time[rows.request[row]]
        key = user * world.spec.num_items + rows.item[row]
        place = int(np.searchsorted(pairs.keys, key))
        ours = pairs.order[pairs.starts[place] : pairs.stops[place]]
        times = pairs.times[pairs.starts[place] : pairs.stops[place]]
        np.testing.assert_array_equal(rows.labels[row, columns], world.labels[ours[times >= time][0]])


def test_the_order_of_rows_tells_nothing(world: World) -> None:
    points = points_of(world, "week", 0, START)
    rows = rows_of(world, points, SPEC, 0, "train")
    first = np.flatnonzero(np.append(True, np.diff(rows.request) > 0))
    assert (np.diff(rows.request) >= 0).all()
    share, expected = (rows.labels[first, 0] == 1).mean(), (rows.labels[:, 0] == 1).mean()
    assert abs(share - expected) < 5 * np.sqrt(expected / len(first))


@pytest.mark.parametrize("kind", ["global_time", "leave_last_out"])
@pytest.mark.parametrize("part", [1, 2])
def test_user_points_are_everyone_who_takes_something_in_the_split(kind: str, part: int) -> None:
    split = SplitSpec(kind=kind)  # type: ignore[arg-type]
    world, _ = world_of(Shop(promotions=False), replace(SPEC, every="visit"), split)
    points = user_points(world, part)  # type: ignore[arg-type]
    expected: dict[int, set[int]] = {}
    for user, item, time in events_of(world):
        low, high = bounds_of(world, part, user)
        if low <= time < high:
            expected.setdefault(user, set()).add(item)
    request, item = positives_of(world, points)
    found = {user: set(item[request == place].tolist()) for place, user in enumerate(points.user.tolist())}
    assert found == expected


def test_impressions_of_weeks_that_straddle_a_split_are_left_out() -> None:
    shop = Shop()
    tables = shop()
    times = tables.events["time"].to_numpy()
    starts = (START + 14 * WEEK + DAY, START + 17 * WEEK + DAY)
    out = tuple((start - DAY, start - DAY + WEEK) for start in starts)
    tables = replace(tables, splits=Splits(*starts, leave_out=out))
    world, _ = build_world(spec_of(shop), tables)
    shown = world.impressions
    assert shown is not None
    assert not np.isin(shown.time, [low for low, _ in out]).any()
    assert set(np.unique(shown.time)) == {START + w * WEEK for w in range(20) if START + w * WEEK < times.max()} - {
        low for low, _ in out
    }


@pytest.mark.parametrize("share", [0.02, 0.5])
def test_taken_impressions_that_come_after_their_event_are_dropped_and_many_are_an_error(share: float) -> None:
    shop = Shop()
    tables = shop()
    shown = tables.impressions
    assert shown is not None
    late = (np.random.default_rng(0).random(len(shown)) < share) & (shown["taken"].to_numpy() > 0)
    moved = shown.set_column(2, "time", pa.array(shown["time"].to_numpy() + late * 1000 * WEEK))
    tables = replace(tables, impressions=moved)
    if share > 0.05:
        with pytest.raises(ValueError, match="taken impressions have no event within 7.0 days"):
            build_world(spec_of(shop), tables)
    else:
        world, _ = build_world(spec_of(shop), tables)
        assert world.impressions is not None
        assert 0 < late.sum() == len(shown) - len(world.impressions.time)
