"""Requests: the unit of training and evaluation. Who asked when, what was taken afterwards, what there was to rank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from recsys.data.features import FeatureStore
from recsys.data.spec import DAY, FIRST, UNKNOWN, DatasetSpec
from recsys.data.split import Boundaries
from recsys.random import rng
from recsys.value import require, value

WEEK = 7 * DAY
GRID = {"visit": 1, "day": DAY, "week": WEEK}
POPULAR_DEPTH = 200


@value
class RequestSpec:
    """When requests are made, how far ahead their positives reach, and which rows are ranked.

    Engage rows are sampled (taken, the user's own past, popular, uniform) and carry the inverse of their probability,
    as impressions do, so that both tasks estimate chances over all there was to take or to see.
    """

    every: Literal["visit", "day", "week"] = "visit"
    horizon_days: float | None = None  # null: the length of the test split, at most a quarter of train
    max_history: int = 64
    max_requests: int | None = 100_000  # of the train log; a random sample
    max_eval_requests: int = 10_000  # of the validation and test logs
    max_positives: int = 64
    rows_positives: int = 8
    own_negatives: int = 16
    popular_negatives: int = 8
    uniform_negatives: int = 8

    def __post_init__(self) -> None:
        require(self.max_history > 0, f"requests.max_history must be positive, got {self.max_history}")
        require(
            self.horizon_days is None or self.horizon_days > 0,
            f"requests.horizon_days must be positive, got {self.horizon_days}",
        )


@dataclass(frozen=True, slots=True)
class Impressions:
    """What was really shown, sorted by user, then time; weight is the inverse probability of being kept."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    surface: np.ndarray
    position: np.ndarray
    taken: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, slots=True)
class World:
    """The encoded events (sorted by user, time, item) and what is needed to read them."""

    store: FeatureStore
    context: np.ndarray  # [n, C] per event, in the events' order
    labels: np.ndarray  # [n, L] per event: labels of the tasks on taken rows
    label_tasks: tuple[int, ...]  # column of each of those tasks among spec.tasks
    impressions: Impressions | None
    boundaries: Boundaries
    offered: np.ndarray  # items that can be drawn at random: those of the train events
    attribution_days: float  # label window of impressions
    spec: DatasetSpec


@dataclass(frozen=True, slots=True)
class Points:
    """Request points: user, time, the end of their label window, and whether it has its whole length."""

    user: np.ndarray
    time: np.ndarray
    until: np.ndarray
    whole: np.ndarray

    def take(self, places: np.ndarray) -> Points:
        return Points(self.user[places], self.time[places], self.until[places], self.whole[places])

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, slots=True)
class Rows:
    """Ranking rows in order of their request."""

    request: np.ndarray
    item: np.ndarray
    surface: np.ndarray
    position: np.ndarray
    labels: np.ndarray  # [R, T] float32
    weight: np.ndarray


def points_of(world: World, every: str, part: int, anchor: int) -> Points:
    """All request points of a split, their label windows cut at its end.

    In train a point whose window would be cut is kept for its impressions alone, whose own window must fit; in the
    other splits the label is what was taken before the split's end.
    """
    bounds = world.boundaries
    user, time, shown = _moments(world, GRID[every], anchor)
    until = time + int(world.spec.horizon_days * DAY)
    shortest = time + int(np.ceil(world.attribution_days * DAY))
    low = [np.full(len(bounds.end), np.iinfo(np.int64).min), bounds.validation, bounds.test][part][user]
    high = [bounds.validation, bounds.test, bounds.end][part][user]
    points = Points(user, time, np.minimum(until, high), (until <= high) | (part > 0))
    fits = np.where(shown | (part > 0), shortest, until) <= high
    return points.take(np.flatnonzero((user >= FIRST) & (time >= low) & fits))


def _moments(world: World, step: int, anchor: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(user, time, whether something was shown): visits on the grid and moments of impressions, once each, in order."""
    users, shown = world.store.users, world.impressions
    user = np.repeat(users.keys, users.stops - users.starts)
    time = anchor + (users.times - anchor) // step * step
    fresh = np.append(True, (user[1:] != user[:-1]) | (time[1:] != time[:-1])) if len(user) else np.zeros(0, bool)
    user, time = user[fresh], time[fresh]
    flag = np.zeros(len(user), bool)
    if shown is not None and len(shown.time):
        user, time = np.concatenate([user, shown.user]), np.concatenate([time, shown.time])
        flag = np.append(flag, np.ones(len(shown.time), bool))
    order = np.lexsort((~flag, time, user))  # of equal moments the one with impressions comes first
    user, time, flag = user[order], time[order], flag[order]
    fresh = np.append(True, (user[1:] != user[:-1]) | (time[1:] != time[:-1])) if len(user) else np.zeros(0, bool)
    return user[fresh], time[fresh], flag[fresh]


def sampled(points: Points, limit: int | None, seed: int, name: str) -> Points:
    """A random sample in random order."""
    order = rng(seed, "requests", name).permutation(len(points))
    return points.take(order if limit is None else order[:limit])


def user_points(world: World, part: Literal[1, 2]) -> Points:
    """One point per user who takes something in the split, at its start."""
    bounds = world.boundaries
    start, stop = (bounds.validation, bounds.test) if part == 1 else (bounds.test, bounds.end)
    users = world.store.users.keys
    users = users[(users >= FIRST) & (start[users] < stop[users])]
    taken = world.store.users.count_before(users, stop[users]) - world.store.users.count_before(users, start[users])
    users = users[taken > 0]
    return Points(users, start[users], stop[users], np.ones(len(users), bool))


def positives_of(world: World, points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Distinct items taken in [time, until): (place of the request, item), sorted by both."""
    users = world.store.users
    place, known, start = users.bounds(points.user)
    begin = np.maximum(users.rank(place, known, points.time), start)
    stop = np.maximum(users.rank(place, known, points.until), begin)
    lengths = np.where(points.whole, stop - begin, 0)
    request = np.repeat(np.arange(len(points)), lengths)
    first = np.repeat(begin - np.append(0, np.cumsum(lengths)[:-1]), lengths)
    items = world.store.user_items[first + np.arange(lengths.sum())]
    codes = np.unique(request * world.spec.num_items + items)
    return codes // world.spec.num_items, codes % world.spec.num_items


def cap(request: np.ndarray, limit: int, generator: np.random.Generator) -> np.ndarray:
    """Places of at most `limit` random entries of each request, in order."""
    order = np.lexsort((generator.random(len(request)), request))
    ordered = request[order]
    starts = np.searchsorted(ordered, ordered)
    return np.sort(order[np.arange(len(order)) - starts < limit])


def context_of(world: World, points: Points, at_visit: bool) -> np.ndarray:
    """[B, C]: the context of the visit itself where the request is one, else of the user's last event before."""
    users = world.store.users
    place, known, start = users.bounds(points.user)
    stop = np.maximum(users.rank(place, known, points.time), start)
    if not len(users.times):
        return np.full((len(points), world.context.shape[1]), UNKNOWN, np.int32)
    inside = known & (stop < users.stops[place])
    here = at_visit & inside & (users.times[np.where(inside, stop, 0)] == points.time)
    there = np.where(here, stop, stop - 1)
    valid = known & (there >= start)
    found = world.context[users.order[np.where(valid, there, 0)]]
    return np.where(valid[:, None], found, UNKNOWN).astype(np.int32)


def rows_of(world: World, points: Points, spec: RequestSpec, seed: int, name: str) -> Rows:
    """Ranking rows of every request: sampled candidates and impressions, in an order that tells nothing."""
    generator = rng(seed, "rows", name)
    parts = [_engage_rows(world, points, spec, generator)]
    if world.impressions is not None:
        parts.append(_impression_rows(world, points))
    columns = [np.concatenate([getattr(part, field) for part in parts]) for field in Rows.__slots__]
    order = np.lexsort((generator.random(len(columns[0])), columns[0]))
    return Rows(*(column[order] for column in columns))


def _engage_rows(world: World, points: Points, spec: RequestSpec, generator: np.random.Generator) -> Rows:
    """Sampled positives and negatives with the inverse of their probability of being sampled.

    With the weights the rows stand for the whole catalogue, so that scores of what a user knows and of what is new can
    be compared; without them a negative drawn from the user's own past would count as much as thousands of others.
    """
    size = world.spec.num_items
    request, item = positives_of(world, points)
    known = request * size + item
    kept = cap(request, spec.rows_positives, generator)
    top = _top_lists(world, points)
    drawn = [
        _own(world, points, spec.own_negatives, generator),
        _popular(world, points, top, spec.popular_negatives, generator),
        _uniform(world, points, spec.uniform_negatives, generator),
    ]
    negatives = np.unique(np.concatenate(drawn))
    negatives = negatives[points.whole[negatives // size] & ~np.isin(negatives, known, assume_unique=True)]
    codes = np.concatenate([known[kept], negatives])
    labels = np.full((len(codes), len(world.spec.tasks)), np.nan, np.float32)
    for place, task in enumerate(world.spec.tasks):
        if task.on == "candidates":
            labels[:, place] = np.append(np.ones(len(kept)), np.zeros(len(negatives)))
    taken = np.bincount(request, minlength=len(points)) / np.maximum(
        np.bincount(request[kept], minlength=len(points)), 1
    )
    weight = np.append(taken[request[kept]], 1 / _inclusion(world, points, spec, top, negatives))
    rows = replace(_plain_rows(codes // size, codes % size, labels), weight=weight.astype(np.float32))
    return _with_taken_labels(world, points, rows, np.append(np.ones(len(kept), bool), np.zeros(len(negatives), bool)))


def _inclusion(
    world: World, points: Points, spec: RequestSpec, top: dict[int, np.ndarray], codes: np.ndarray
) -> np.ndarray:
    """Probability that a negative is drawn at least once by any of the three samplers."""
    request, item = codes // world.spec.num_items, codes % world.spec.num_items
    user, time = points.user[request].astype(np.int64), points.time[request]
    past = np.maximum(world.store.users.count_before(user, time), 1)
    own = world.store.pairs.count_before(user * world.spec.num_items + item, time) / past
    week = time // WEEK
    popular = np.zeros(len(codes))
    for start, items in top.items():
        some = np.flatnonzero(week == start)
        popular[some] = np.isin(item[some], items) / max(len(items), 1)
    uniform = np.isin(item, world.offered) / len(world.offered)
    missed = (1 - own) ** spec.own_negatives * (1 - popular) ** spec.popular_negatives
    return 1 - missed * (1 - uniform) ** spec.uniform_negatives


def _plain_rows(request: np.ndarray, item: np.ndarray, labels: np.ndarray) -> Rows:
    unknown = np.full(len(item), UNKNOWN)
    return Rows(request, item, unknown, unknown, labels, np.ones(len(item), np.float32))


def _with_taken_labels(world: World, points: Points, rows: Rows, taken: np.ndarray) -> Rows:
    """Labels of the first event of (user, item) at or after the request, for rows that were taken in its window."""
    if not world.label_tasks:
        return rows
    pairs, labels = world.store.pairs, rows.labels.copy()
    user, time, until = points.user[rows.request], points.time[rows.request], points.until[rows.request]
    place, known, start = pairs.bounds(user.astype(np.int64) * world.spec.num_items + rows.item)
    stop = np.maximum(pairs.rank(place, known, time), start)
    valid = taken & known & (stop < pairs.stops[place])
    valid &= pairs.times[np.where(valid, stop, 0)] < until
    event = pairs.order[np.where(valid, stop, 0)]
    for column, task in enumerate(world.label_tasks):
        labels[valid, task] = world.labels[event[valid], column]
    return replace(rows, labels=labels)


def _impression_rows(world: World, points: Points) -> Rows:
    shown = world.impressions
    assert shown is not None
    span = int(max(shown.time.max(), points.time.max())) + 1 if len(points) and len(shown.time) else 1
    order = np.argsort(points.user * span + points.time, kind="stable")
    codes = (points.user * span + points.time)[order]
    wanted = shown.user * span + shown.time
    place = np.minimum(np.searchsorted(codes, wanted), max(len(codes) - 1, 0))
    held = np.flatnonzero(codes[place] == wanted) if len(codes) else np.zeros(0, int)
    request = order[place[held]] if len(codes) else held
    labels = np.full((len(held), len(world.spec.tasks)), np.nan, np.float32)
    for column, task in enumerate(world.spec.tasks):
        if task.on == "impressions":
            labels[:, column] = shown.taken[held]
    rows = Rows(request, shown.item[held], shown.surface[held], shown.position[held], labels, shown.weight[held])
    return _with_taken_labels(world, points, rows, shown.taken[held] > 0)


def _own(world: World, points: Points, count: int, generator: np.random.Generator) -> np.ndarray:
    """Codes of items drawn from each user's own past, in proportion to their events."""
    start, stop = world.store.users.slice_before(points.user, points.time)
    lengths = stop - start
    some = np.flatnonzero(lengths > 0)
    place = start[some, None] + (generator.random((len(some), count)) * lengths[some, None]).astype(np.int64)
    return (some[:, None] * world.spec.num_items + world.store.user_items[place]).ravel()


def _top_lists(world: World, points: Points) -> dict[int, np.ndarray]:
    """Week -> the items that were popular when it began."""
    weeks = np.unique(points.time // WEEK)
    return {int(week): world.store.popular(int(week * WEEK), POPULAR_DEPTH, window_days=28) for week in weeks}


def _popular(
    world: World, points: Points, top: dict[int, np.ndarray], count: int, generator: np.random.Generator
) -> np.ndarray:
    """Codes of items drawn from the list of the request's week."""
    week, codes = points.time // WEEK, [np.zeros(0, np.int64)]
    for start, items in top.items():
        some = np.flatnonzero(week == start)
        if len(items):
            codes.append((some[:, None] * world.spec.num_items + generator.choice(items, (len(some), count))).ravel())
    return np.concatenate(codes)


def _uniform(world: World, points: Points, count: int, generator: np.random.Generator) -> np.ndarray:
    drawn = generator.choice(world.offered, (len(points), count))
    return (np.arange(len(points))[:, None] * world.spec.num_items + drawn).ravel()
