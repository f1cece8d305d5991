"""Checks that run on every prepared dataset: nothing of the future, nothing twice, no id that tells the label."""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy.stats import rankdata, spearmanr

from recsys.data.features import Events, FeatureStore
from recsys.data.requests import World
from recsys.data.spec import DAY

PROBES = (2, 12)  # least and most moments of a log at which it is computed again from a store that ends there
PROBED_EVENTS = 3_000_000  # events that go into those stores, all moments together
LEAST_ROWS, LEAST_REQUESTS, LEAST_OF_EACH = 2000, 500, 100  # fewer say nothing about the order of a label
BOUND = 6.0  # standard errors from chance; six are not chance over any number of datasets
ID_BOUND, RAW_BOUND = 0.95, 0.995  # AUC of an id for a label: among items of like train count, and over all rows
CHECKS = "order, windows, histories, features, labels, label order, ids"


class LeakError(RuntimeError):
    """The prepared data would flatter a model; the message names the rows and what to do."""


@dataclass(frozen=True, slots=True)
class Written:
    """A request log as it was written, with the split that it must keep to."""

    name: str
    columns: dict[str, pa.Array]
    user: np.ndarray  # [B]
    time: np.ndarray  # [B]
    begin: np.ndarray  # [B], first moment of the split for the request's user
    stop: np.ndarray  # [B], first moment after it
    until: np.ndarray  # [B], end of the label window

    @classmethod
    def read(cls, folder: Path, name: str, world: World) -> Written:
        table = pq.read_table(folder / "requests" / f"{name}-00000.parquet")
        columns = {column: pa.concat_arrays(table[column].chunks) for column in table.column_names if len(table)}
        user, time = (table[column].to_numpy() for column in ("user", "time"))
        bounds, split = world.boundaries, name.removesuffix("_users")
        begin = {"train": np.zeros_like(bounds.end), "validation": bounds.validation, "test": bounds.test}[split][user]
        stop = {"train": bounds.validation, "validation": bounds.test, "test": bounds.end}[split][user]
        whole = stop if name.endswith("_users") else time + int(world.spec.horizon_days * DAY)
        return cls(name, columns, user, time, begin, stop, np.minimum(whole, stop))

    def __len__(self) -> int:
        return len(self.user)

    def jagged(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """(request of each value, values)."""
        held = self.columns[column]
        lengths = np.diff(held.offsets.to_numpy())
        return np.repeat(np.arange(len(self)), lengths), held.flatten().to_numpy(zero_copy_only=False)

    def labels(self, world: World) -> np.ndarray:
        """[R, T]."""
        return self.jagged("row_labels")[1].reshape(-1, len(world.spec.tasks))

    def first_wrong(self, wrong: np.ndarray, request: np.ndarray) -> str:
        row = int(request[np.flatnonzero(wrong)[0]])
        return f"request {row} of user {self.user[row]} at {self.time[row]} (and {int(wrong.sum()) - 1} more)"


def check_leaks(folder: Path, world: World) -> list[str]:
    """Run every check on the written logs; returns the names of those passed, raises LeakError at the first that isn't."""
    passed = []
    for name in ("train", "validation", "test", "validation_users", "test_users"):
        log = Written.read(folder, name, world)
        check_order(log)
        if len(log):
            check_windows(log, world)
            check_ages(log)
            check_past(log, world)
            check_places(log, world)
            check_labels(log, world)
            check_ids(log, world, folder)
        passed.append(f"{name}: {CHECKS}")
    check_events(folder, world)
    return [*passed, "events: each in its split, none in two"]


def check_order(log: Written) -> None:
    """Requests of a split lie inside it."""
    wrong = (log.time < log.begin) | (log.time >= log.stop)
    if wrong.any():
        raise LeakError(
            f"{log.name}: {log.first_wrong(wrong, np.arange(len(log)))} lies outside its split: the split times and the "
            "request log don't belong together, prepare the data again"
        )


def check_windows(log: Written, world: World) -> None:
    """Every positive was taken between the request and the end of its label window, which ends with the split."""
    request, item = log.jagged("positives")
    wrong = ~_taken(log, world, request, item, log.until)
    if wrong.any():
        raise LeakError(
            f"{log.name}: a positive of {log.first_wrong(wrong, request)} wasn't taken between the request and the end of "
            "its label window: the window crosses the split or the log is of other events, prepare the data again"
        )


def check_ages(log: Written) -> None:
    """Every event of a history is older than its request."""
    request, ages = log.jagged("history_age")
    wrong = ~(ages > 0)
    if wrong.any():
        raise LeakError(
            f"{log.name}: {int(wrong.sum())} history events aren't older than their request, first in "
            f"{log.first_wrong(wrong, request)}: histories must end strictly before the request"
        )


def check_past(log: Written, world: World) -> None:
    """Histories and features of some requests equal those from events that end before the request."""
    distinct = np.unique(log.time)
    probes = int(np.clip(PROBED_EVENTS // max(len(world.store.users.times), 1), *PROBES))
    for moment in np.unique(distinct[np.linspace(0, len(distinct) - 1, probes).astype(int)]):
        past, places = _store_before(world, int(moment)), np.flatnonzero(log.time == moment)
        told = f"{log.name}: %s of request {places[0]} changes when events from {moment} on are taken away: "
        told += "it is computed from the future"
        items, ages, _ = past.history(log.user[places], log.time[places], world.spec.max_history)
        for column, again in (("history", items), ("history_age", ages)):
            if not np.array_equal(log.columns[column].take(pa.array(places)).flatten().to_numpy(), again):
                raise LeakError(told % "the history")
        rows = log.columns["row_item"].take(pa.array(places))
        held = log.columns["row_features"].take(pa.array(places)).flatten().to_numpy()
        request = np.repeat(places, np.diff(rows.offsets.to_numpy()))
        again = past.compute(log.user[request], rows.flatten().to_numpy(), log.time[request])
        wrong = (again != held.reshape(again.shape)).any(0)
        if wrong.any():
            raise LeakError(told % f"feature {world.store.names[int(np.flatnonzero(wrong)[0])]!r}")


def check_labels(log: Written, world: World) -> None:
    """What was taken is labelled so, and nothing else; an impression's own window lies inside the split."""
    labels, (request, item) = log.labels(world), log.jagged("row_item")
    attributed = log.time + int(np.ceil(world.attribution_days * DAY))
    for column, task in enumerate(world.spec.tasks):
        known = ~np.isnan(labels[:, column])
        if task.on == "taken" or not known.any():
            continue
        until = log.until if task.on == "candidates" else attributed
        taken = _taken(log, world, request[known], item[known], until)
        label = labels[known, column] > 0
        wrong = (label != taken) if task.on == "candidates" else (label & ~taken) | (until > log.stop)[request[known]]
        if wrong.any():
            raise LeakError(
                f"{log.name}: label {task.name!r} of {log.first_wrong(wrong, request[known])} isn't what the events "
                "between the request and the end of the label window say: the window crosses the split, or the request "
                "comes after what was taken"
            )


def check_places(log: Written, world: World) -> None:
    """Where a row stands in its request, and which request it is, say nothing of its label.

    Rank statistics of the label against both (Mann & Whitney, 1947; Spearman, 1904).
    """
    labels, (request, _) = log.labels(world), log.jagged("row_item")
    lengths = np.bincount(request, minlength=len(log))
    place = np.arange(len(request)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    share = (place + 0.5) / lengths[request]
    for column, name in _binary(world):
        known = np.flatnonzero(~np.isnan(labels[:, column]))
        if len(known) < LEAST_ROWS:
            continue
        label = labels[known, column] > 0
        distances = {"place of a row in its request": _standard_errors(share[known], label)}
        some = np.unique(request[known])
        if len(some) >= LEAST_REQUESTS:
            rate = np.bincount(request[known], label)[some] / np.bincount(request[known])[some]
            distances["number of a request"] = float(spearmanr(some, rate).statistic) * np.sqrt(len(some) - 1)
        for what, distance in distances.items():
            if abs(distance) > BOUND:
                raise LeakError(
                    f"{log.name}: the {what} tells its label {name!r} ({distance:.1f} standard errors): rows and requests "
                    "must be shuffled before they are written"
                )


def check_ids(log: Written, world: World, folder: Path) -> None:
    """An item's own id says little of a row's label.

    Popular items often have low ids, and are taken more often: no leak. So ids are compared among items of like train
    count, by doublings; only an order that is all but perfect counts without that, for ids that are never both.
    """
    table = pq.read_table(folder / "items.parquet", columns=["item_id", "train_count"])
    rank = _id_ranks(table["item_id"])
    stratum = np.log2(table["train_count"].to_numpy() + 1).astype(np.int64)
    labels, item = log.labels(world), log.jagged("row_item")[1]
    for column, name in _binary(world):
        known = np.flatnonzero(~np.isnan(labels[:, column]))
        label = labels[known, column] > 0
        if len(known) < LEAST_ROWS or min(label.sum(), (~label).sum()) < LEAST_OF_EACH:
            continue
        score = rank[item[known]]
        raw, alike = _auc(score, label), _auc_within(score, label, stratum[item[known]])
        if abs(raw - 0.5) > RAW_BOUND - 0.5 or abs(alike - 0.5) > ID_BOUND - 0.5:
            raise LeakError(
                f"{log.name}: item ids tell the label {name!r} (AUC {raw:.3f}, {alike:.3f} among items of like train "
                f"count, {len(known)} rows): items got their ids by what became of them, give them ids that don't know it"
            )


def check_events(folder: Path, world: World) -> None:
    """Every event stands in the split of its time, and no (user, item, time) stands in two."""
    table = pq.read_table(folder / "events.parquet", columns=["user", "item", "time", "split"])
    distinct = table.group_by(["user", "item", "time"]).aggregate([("split", "count_distinct")])
    twice = distinct.filter(pc.greater(distinct["split_count_distinct"], 1))
    if len(twice):
        row = twice.slice(0, 1).to_pylist()[0]
        raise LeakError(f"events: {row} stands in two splits (and {len(twice) - 1} more): remove the duplicates")
    user, time, split = (table[name].to_numpy() for name in ("user", "time", "split"))
    wrong = np.flatnonzero(world.boundaries.part(user, time) != split)
    if len(wrong):
        row = table.slice(int(wrong[0]), 1).to_pylist()[0]
        raise LeakError(
            f"events: {row} stands in a split of another time (and {len(wrong) - 1} more): prepare the data again"
        )


def _store_before(world: World, time: int) -> FeatureStore:
    users, items = world.store.users, world.store.user_items
    owner = np.repeat(users.keys, users.stops - users.starts)
    past = users.times < time
    events = Events(owner[past], items[past], users.times[past])
    return FeatureStore(events, world.store.categories, world.spec.num_items)


def _taken(log: Written, world: World, request: np.ndarray, item: np.ndarray, until: np.ndarray) -> np.ndarray:
    """Whether the request's user took the item in [time, until)."""
    pairs = world.store.pairs
    keys = log.user[request].astype(np.int64) * world.spec.num_items + item
    before, after = pairs.count_before(keys, log.time[request]), pairs.count_before(keys, until[request])
    return after > before


def _binary(world: World) -> Iterator[tuple[int, str]]:
    return ((column, task.name) for column, task in enumerate(world.spec.tasks) if task.kind == "binary")


def _id_ranks(ids: pa.ChunkedArray) -> np.ndarray:
    """Place of every id among all, as numbers where all of them are, else as text."""
    texts = [text or "" for text in ids.to_pylist()]
    numbers = all(text.isdigit() for text in texts if text)
    keys = [int(text or -1) if numbers else text for text in texts]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def _auc(score: np.ndarray, label: np.ndarray) -> float:
    """Probability that a positive has the higher score, ties half."""
    positive, negative = int(label.sum()), int((~label).sum())
    return float((rankdata(score)[label].sum() - positive * (positive + 1) / 2) / positive / negative)


def _auc_within(score: np.ndarray, label: np.ndarray, stratum: np.ndarray) -> float:
    """AUC over pairs of the same stratum; one half where there are none."""
    total, pairs = 0.0, 0
    for held in np.unique(stratum):
        some = stratum == held
        count = int(label[some].sum()) * int((~label[some]).sum())
        total += _auc(score[some], label[some]) * count if count else 0.0
        pairs += count
    return total / pairs if pairs else 0.5


def _standard_errors(score: np.ndarray, label: np.ndarray) -> float:
    """Distance of the AUC of score for label from one half, in its standard errors under independence."""
    positive, negative = int(label.sum()), int((~label).sum())
    if not positive or not negative:
        return 0.0
    return (_auc(score, label) - 0.5) / float(np.sqrt((positive + negative + 1) / 12 / positive / negative))
