"""Checks that run on every prepared dataset: nothing of the future, nothing twice, no id that tells the label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recsys.data.features import Events, FeatureStore
from recsys.data.requests import World

PROBES = 2  # moments of each log at which features are computed again from a store that ends there
LEAST_ROWS = 2000  # fewer rows say nothing about the order of a label
BOUND = 6.0  # standard errors from one half; six are not chance over any number of datasets


class LeakError(RuntimeError):
    """The prepared data would flatter a model; the message names the rows and what to do."""


def check_leaks(folder: Path, world: World) -> list[str]:
    """Run every check on the written logs; returns the names of those passed, raises LeakError at the first that isn't."""
    passed = []
    for log in ("train", "validation", "test", "validation_users", "test_users"):
        table = pq.read_table(folder / "requests" / f"{log}-00000.parquet")
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        check_order(log, columns, world)
        check_ages(log, columns)
        check_features(log, columns, world)
        check_places(log, columns, world)
        passed.append(log)
    check_twice(folder)
    return [f"{log}: order, ages, features, label order" for log in passed] + ["events: none stands in two splits"]


def check_order(log: str, columns: dict, world: World) -> None:
    """Requests of a split lie inside it, and their label windows too."""
    bounds, user, time = world.boundaries, columns["user"].to_numpy(), columns["time"].to_numpy()
    first = {"train": None, "validation": bounds.validation, "test": bounds.test}[log.removesuffix("_users")]
    last = {"train": bounds.validation, "validation": bounds.test, "test": bounds.end}[log.removesuffix("_users")]
    wrong = time >= last[user]
    if first is not None:
        wrong |= time < first[user]
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise LeakError(
            f"{log}: request {row} of user {user[row]} at {time[row]} lies outside its split (and {wrong.sum() - 1} more): "
            "the split times and the request log don't belong together, prepare the data again"
        )


def check_ages(log: str, columns: dict) -> None:
    """Every event of a history is older than its request."""
    ages = columns["history_age"].values.to_numpy(zero_copy_only=False)
    if len(ages) and ages.min() <= 0:
        raise LeakError(
            f"{log}: {int((ages <= 0).sum())} history events aren't older than their request (age {ages.min()} days): "
            "histories must end strictly before the request"
        )


def check_features(log: str, columns: dict, world: World) -> None:
    """Features and histories of some requests equal those from events that end before the request."""
    offsets = columns["row_item"].offsets.to_numpy()
    held = columns["row_features"].values.to_numpy(zero_copy_only=False).reshape(-1, len(world.store.names))
    time = columns["time"].to_numpy()
    some = np.flatnonzero(np.diff(offsets) > 0)
    moments = np.unique(time[some])
    for moment in moments[np.linspace(0, len(moments) - 1, PROBES).astype(int)] if len(some) else ():
        past = _store_before(world, int(moment))
        places = some[time[some] == moment]
        rows = np.concatenate([np.arange(offsets[place], offsets[place + 1]) for place in places])
        item = columns["row_item"].values.to_numpy()[rows]
        user = np.repeat(columns["user"].to_numpy()[places], np.diff(offsets)[places])
        again = past.compute(user, item, np.full(len(item), moment))
        if not np.array_equal(again, held[rows]):
            wrong = world.store.names[int(np.flatnonzero((again != held[rows]).any(0))[0])]
            raise LeakError(
                f"{log}: feature {wrong!r} of request {places[0]} changes when events from {moment} on are taken away: "
                "it is computed from the future"
            )


def _store_before(world: World, time: int) -> FeatureStore:
    users, items = world.store.users, world.store.user_items
    owner = np.repeat(users.keys, users.stops - users.starts)
    past = users.times < time
    events = Events(owner[past], items[past], users.times[past])
    return FeatureStore(events, world.store.categories, world.spec.num_items)


def check_places(log: str, columns: dict, world: World) -> None:
    """Where a row stands in its request, and which request it is, say nothing of its label.

    Rank statistic of the label against both (Mann & Whitney, 1947). Item ids aren't tested: they are numbered by
    popularity, which is no leak.
    """
    offsets = columns["row_item"].offsets.to_numpy()
    labels = columns["row_labels"].values.to_numpy(zero_copy_only=False).reshape(-1, len(world.spec.tasks))
    lengths = np.diff(offsets)
    place = (np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)) / np.repeat(np.maximum(lengths, 1), lengths)
    for column, task in enumerate(world.spec.tasks):
        if task.kind != "binary":
            continue
        known = ~np.isnan(labels[:, column])
        if known.sum() < LEAST_ROWS:
            continue
        distance = _standard_errors(place[known], labels[known, column] > 0)
        if abs(distance) > BOUND:
            raise LeakError(
                f"{log}: the place of a row in its request tells its label {task.name!r} ({distance:.1f} standard errors): "
                "rows must be shuffled before they are written"
            )


def _standard_errors(score: np.ndarray, label: np.ndarray) -> float:
    """Distance of the AUC of score for label from one half, in its standard errors under independence."""
    positive, negative = int(label.sum()), int((~label).sum())
    if not positive or not negative:
        return 0.0
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    auc = (ranks[label].sum() - positive * (positive + 1) / 2) / positive / negative
    return float((auc - 0.5) / np.sqrt((positive + negative + 1) / 12 / positive / negative))


def check_twice(folder: Path) -> None:
    """No event (user, item, time) stands in two splits."""
    table = pq.read_table(folder / "events.parquet", columns=["user", "item", "time", "split"])
    distinct = table.group_by(["user", "item", "time"]).aggregate([("split", "count_distinct")])
    twice = np.flatnonzero(distinct["split_count_distinct"].to_numpy() > 1)
    if len(twice):
        row = distinct.slice(int(twice[0]), 1).to_pylist()[0]
        raise LeakError(f"events: {row} stands in two splits (and {len(twice) - 1} more): remove the duplicates")
