"""Every planted leak stops the preparation; clean data passes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from recsys.data import leaks
from recsys.data.leaks import LeakError, check_leaks
from recsys.data.prepare import build_world, prepare
from recsys.data.requests import RequestSpec, World
from recsys.data.timeline import Timeline
from tests.data.worlds import Shop, spec_of
from tests.serve.conftest import SmallShop

SPEC = spec_of(Shop(visits=1400), RequestSpec(every="week", horizon_days=14.0, max_history=10))
Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("clean") / "dataset"
    prepare(SPEC, target)
    return target


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(SPEC, SPEC.source())[0]


@pytest.fixture
def broken(clean: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean, tmp_path / "dataset")
    return tmp_path / "dataset"


def rewrite(dataset: Path, log: str, name: str, change: Change) -> None:
    """Replace one column of a request log by what `change` makes of its flat values."""
    path = dataset / "requests" / f"{log}-00000.parquet"
    table = pq.read_table(path).combine_chunks()
    column = table[name].chunk(0)
    if pa.types.is_list(column.type):
        flat = change(column.values.to_numpy(zero_copy_only=False).copy())
        changed = pa.ListArray.from_arrays(column.offsets, pa.array(flat, column.type.value_type))
    else:
        changed = pa.array(change(column.to_numpy().copy()), column.type)
    place = table.column_names.index(name)
    pq.write_table(table.set_column(place, table.schema.field(name), changed), path)


def put(place: int, held: float) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        values[place] = held
        return values

    return change


def column(dataset: Path, log: str, name: str) -> pa.ListArray:
    return pq.read_table(dataset / "requests" / f"{log}-00000.parquet")[name].combine_chunks()


def test_clean_data_passes(clean: Path, world: World) -> None:
    passed = check_leaks(clean, world)
    assert [told.split(":")[0] for told in passed] == [
        "train", "validation", "test", "validation_users", "test_users", "events",
    ]  # fmt: skip


@pytest.mark.parametrize("log", ["validation", "test", "test_users"])
def test_a_request_before_its_split(broken: Path, world: World, log: str) -> None:
    start = world.spec.validation_start if log == "validation" else world.spec.test_start
    rewrite(broken, log, "time", put(3, start - 1))
    with pytest.raises(LeakError, match=f"{log}: request 3 of user .* lies outside its split"):
        check_leaks(broken, world)


@pytest.mark.parametrize("log", ["train", "validation"])
def test_a_request_after_its_split(broken: Path, world: World, log: str) -> None:
    stop = world.spec.validation_start if log == "train" else world.spec.test_start
    rewrite(broken, log, "time", put(5, stop))
    with pytest.raises(LeakError, match=f"{log}: request 5 .* lies outside its split"):
        check_leaks(broken, world)


@pytest.mark.parametrize("log", ["train", "validation_users"])
def test_a_label_window_that_crosses_the_split(broken: Path, world: World, log: str) -> None:
    """A positive that its user took after the split's end, and never between the request and that end."""
    held = pq.read_table(broken / "requests" / f"{log}-00000.parquet")
    stop = world.spec.validation_start if log == "train" else world.spec.test_start
    offsets, users, times = column(broken, log, "positives").offsets.to_numpy(), held["user"], held["time"]
    for place in np.flatnonzero(np.diff(offsets)):
        user, time = users[int(place)].as_py(), times[int(place)].as_py()
        begin, end = (world.store.users.slice_before(np.array([user]), np.array([t])) for t in (time, stop))
        later = world.store.user_items[
            end[1][0] : world.store.users.stops[np.searchsorted(world.store.users.keys, user)]
        ]
        fresh = np.setdiff1d(later, world.store.user_items[begin[1][0] : end[1][0]])
        if len(fresh):
            rewrite(broken, log, "positives", put(int(offsets[place]), int(fresh[0])))
            break
    with pytest.raises(
        LeakError, match=rf"{log}: a positive of request .* \(and 0 more\).*the window crosses the split"
    ):
        check_leaks(broken, world)


def test_an_impression_whose_window_crosses_the_split(clean: Path, world: World) -> None:
    with pytest.raises(LeakError, match="label 'purchase' of request .*the window crosses the split"):
        check_leaks(clean, replace(world, attribution_days=60.0))


@pytest.mark.parametrize("age", [0.0, -3.0, np.nan])
def test_a_history_that_holds_the_present(broken: Path, world: World, age: float) -> None:
    rewrite(broken, "train", "history_age", put(-1, age))
    with pytest.raises(LeakError, match="1 history events aren't older than their request"):
        check_leaks(broken, world)


def test_a_history_of_other_events(broken: Path, world: World) -> None:
    rewrite(broken, "test", "history", lambda items: items[::-1])
    with pytest.raises(LeakError, match="test: the history of request .* changes when events from .* are taken away"):
        check_leaks(broken, world)


class Blurred(Timeline):
    """Counts events at the very moment too, as `<=` in place of `<` would."""

    def rank(self, place: np.ndarray, known: np.ndarray, times: np.ndarray) -> np.ndarray:
        return super().rank(place, known, times + 3600)


@pytest.mark.parametrize("timeline", ["pairs", "items"])
def test_features_that_see_an_hour_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeline: str) -> None:
    """The whole preparation with a feature store whose every store, even a cut one, is wrong in the same way."""
    from recsys.data.features import FeatureStore

    build = FeatureStore.__init__

    def blurred(self: FeatureStore, *args: object) -> None:
        build(self, *args)  # type: ignore[arg-type]
        getattr(self, timeline).__class__ = Blurred

    monkeypatch.setattr(FeatureStore, "__init__", blurred)
    shop = Shop(visits=1400, promotions=False)
    with pytest.raises(LeakError, match=r"train: (feature '\w+_count\w*' of request|a positive of)"):
        prepare(spec_of(shop, RequestSpec(every="visit", horizon_days=7.0)), tmp_path / "dataset")


@pytest.mark.parametrize("feature", ["pair_count", "item_count_7d", "item_repeat_share", "affinity_kind_count"])
def test_a_feature_of_the_future(broken: Path, world: World, feature: str) -> None:
    width, place = len(world.store.names), world.store.names.index(feature)

    def knows(values: np.ndarray) -> np.ndarray:
        values.reshape(-1, width)[:, place] += 0.1
        return values

    rewrite(broken, "train", "row_features", knows)
    with pytest.raises(LeakError, match=f"feature '{feature}'.*computed from the future"):
        check_leaks(broken, world)


def test_rows_in_an_order_that_tells_the_label(broken: Path, world: World) -> None:
    offsets, tasks = column(broken, "train", "row_labels").offsets.to_numpy(), len(world.spec.tasks)

    def positives_first(labels: np.ndarray) -> np.ndarray:
        for start, stop in pairwise(offsets):
            part = labels[start:stop].reshape(-1, tasks)
            part[:] = part[np.argsort(-np.nan_to_num(part[:, 0]), kind="stable")]
        return labels

    rewrite(broken, "train", "row_labels", positives_first)
    with pytest.raises(LeakError, match="the place of a row in its request tells its label 'engage'"):
        check_leaks(broken, world)


def test_requests_in_an_order_that_tells_the_label(broken: Path, world: World) -> None:
    path = broken / "requests" / "train-00000.parquet"
    table = pq.read_table(path)
    labels = [np.array(row).reshape(-1, len(world.spec.tasks))[:, 0] for row in table["row_labels"].to_pylist()]
    rate = [(row == 1).sum() / max((row >= 0).sum(), 1) for row in labels]
    pq.write_table(table.take(pa.array(np.argsort(rate, kind="stable"))), path)
    with pytest.raises(LeakError, match="the number of a request tells its label 'engage'"):
        check_leaks(broken, world)


@pytest.mark.parametrize("task", [0, 1])
def test_labels_that_the_events_do_not_bear_out(broken: Path, world: World, task: int) -> None:
    tasks = len(world.spec.tasks)
    labels = column(broken, "test", "row_labels").values.to_numpy().reshape(-1, tasks)
    wrong = int(np.flatnonzero(labels[:, task] == 0)[7])
    items = column(broken, "test", "row_item")
    request = int(np.searchsorted(items.offsets.to_numpy(), wrong, side="right")) - 1
    rewrite(broken, "test", "row_labels", put(wrong * tasks + task, 1))
    with pytest.raises(LeakError, match=f"test: label '{world.spec.tasks[task].name}' of request {request} "):
        check_leaks(broken, world)


@pytest.mark.parametrize("numbers", [True, False])
def test_item_ids_given_by_what_became_of_the_item(broken: Path, world: World, numbers: bool) -> None:
    """Of the impressions' items those mostly taken have ids above all others, whatever their popularity."""
    labels = column(broken, "train", "row_labels").values.to_numpy().reshape(-1, len(world.spec.tasks))[:, 1]
    item, known = column(broken, "train", "row_item").values.to_numpy(), ~np.isnan(labels)
    table = pq.read_table(broken / "items.parquet")
    rate = np.bincount(item[known], labels[known], len(table)) / np.maximum(
        np.bincount(item[known], minlength=len(table)), 1
    )
    order = np.argsort(np.argsort(rate, kind="stable"))
    ids = pa.array([None, None, *(str(100 + n) if numbers else f"x{n:06d}" for n in order[2:])])
    pq.write_table(table.set_column(0, "item_id", ids), broken / "items.parquet")
    log = leaks.Written.read(broken, "train", world)
    sharp = np.where(known, rate[item] > 0.4, np.nan).astype(np.float32)
    told = np.full((len(item), len(world.spec.tasks)), np.nan, np.float32)
    told[:, 1] = np.where(known, sharp, np.nan)
    flat = pa.ListArray.from_arrays(log.columns["row_labels"].offsets, pa.array(told.ravel()))
    with pytest.raises(LeakError, match=r"train: item ids tell the label 'purchase' \(AUC (1|0.9)"):
        leaks.check_ids(replace(log, columns={**log.columns, "row_labels": flat}), world, broken)
    leaks.check_ids(log, world, broken)


def test_ids_by_popularity_are_no_leak(tmp_path: Path) -> None:
    spec = spec_of(SmallShop(), RequestSpec(horizon_days=7.0))  # type: ignore[arg-type]
    dataset = prepare(spec, tmp_path / "dataset").path
    world = build_world(spec, spec.source())[0]
    table = pq.read_table(dataset / "items.parquet")
    ids = pa.array([None, None, *map(str, range(2, len(table)))])  # the vocabulary's order: by train count
    pq.write_table(table.set_column(0, "item_id", ids), dataset / "items.parquet")
    assert check_leaks(dataset, world)


def test_an_event_in_two_splits(broken: Path, world: World) -> None:
    events = pq.read_table(broken / "events.parquet")
    place = events.column_names.index("split")
    again = events.slice(0, 1).set_column(place, "split", pa.array([2], pa.int8()))
    pq.write_table(pa.concat_tables([events, again]), broken / "events.parquet")
    with pytest.raises(LeakError, match=r"stands in two splits \(and 0 more\)"):
        check_leaks(broken, world)


def test_an_event_in_the_split_of_another_time(broken: Path, world: World) -> None:
    events = pq.read_table(broken / "events.parquet")
    split, time = events["split"].to_numpy().copy(), events["time"].to_numpy()
    split[time == time[np.flatnonzero(split == 2)[0]]] = 0
    pq.write_table(
        events.set_column(events.column_names.index("split"), "split", pa.array(split)), broken / "events.parquet"
    )
    with pytest.raises(LeakError, match="stands in a split of another time"):
        check_leaks(broken, world)


def test_nothing_is_written_when_a_check_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "BOUND", 0.0)
    with pytest.raises(LeakError):
        prepare(SPEC, tmp_path / "dataset")
    assert list(tmp_path.iterdir()) == []


def test_chance_is_no_leak() -> None:
    random = np.random.default_rng(0)
    distances = [leaks._standard_errors(random.random(5000), random.random(5000) < 0.2) for _ in range(100)]
    assert np.abs(distances).max() < leaks.BOUND
    assert 0.8 < np.std(distances) < 1.2


def test_auc_counts_ties_half_and_keeps_to_its_stratum() -> None:
    random = np.random.default_rng(0)
    score, label, stratum = random.integers(0, 9, 500), random.random(500) < 0.3, random.integers(0, 3, 500)
    assert leaks._auc(score, label) == pytest.approx(roc_auc_score(label, score))
    by_pairs = [
        (score[i] > score[j]) + 0.5 * (score[i] == score[j])
        for i in np.flatnonzero(label) for j in np.flatnonzero(~label) if stratum[i] == stratum[j]
    ]  # fmt: skip
    assert leaks._auc_within(score, label, stratum) == pytest.approx(np.mean(by_pairs))
