from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.artefact import Artefact, opened, peek
from recsys.data.journey import Journey
from recsys.data.prepare import LOGS, DataSpec, dataset_fingerprint, prepare
from recsys.data.requests import RequestSpec
from recsys.data.spec import DAY, FIRST, DatasetSpec
from recsys.data.split import SplitSpec
from recsys.data.tables import Tables
from recsys.data.write import row_group_size
from tests.data.worlds import Shop, spec_of

SPEC = spec_of(Shop(), RequestSpec(every="week", horizon_days=14.0, max_history=10, max_positives=5))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return prepare(SPEC, tmp_path_factory.mktemp("prepared") / "dataset")


@pytest.fixture(scope="module")
def spec(dataset: Artefact) -> DatasetSpec:
    return DatasetSpec.from_json(dataset.meta["spec"])


def log(dataset: Artefact, name: str) -> pa.Table:
    return pq.read_table(dataset.path / "requests" / f"{name}-00000.parquet")


def test_the_artefact_says_what_it_is(dataset: Artefact, spec: DatasetSpec) -> None:
    assert dataset.fingerprint == dataset_fingerprint(SPEC)
    assert {Path(name).parts[0] for name in dataset.manifest["files"]} == {
        "items.parquet", "users.parquet", "events.parquet", "vocabulary.parquet", "quarantine.parquet", "requests",
    }  # fmt: skip
    counts, events = dataset.meta["counts"], pq.read_table(dataset.path / "events.parquet")
    assert counts["events"] == len(events) == sum(counts[f"events.{part}"] for part in LOGS[:3])
    for name in LOGS:
        held = log(dataset, name)
        assert counts[f"{name}.requests"] == len(held) > 0
        assert counts[f"{name}.rows"] == sum(map(len, held["row_item"].to_pylist()))
        assert counts[f"{name}.positives"] == sum(map(len, held["positives"].to_pylist()))
    assert dataset.meta["time_range"] == [events["time"].to_numpy().min(), spec.end - 1]
    assert len(dataset.meta["leak_checks"]) == 6


def test_events_keep_every_line_under_its_own_ids(dataset: Artefact) -> None:
    events = pq.read_table(dataset.path / "events.parquet")
    keys = [events[name].to_numpy() for name in ("item", "time", "user")]
    assert np.array_equal(np.lexsort(keys), np.arange(len(events)))
    items, users = (
        pq.read_table(dataset.path / f"{kind}s.parquet")[f"{kind}_id"].to_pylist() for kind in ("item", "user")
    )
    raw = SPEC.source().events
    found = zip(*(events[name].to_pylist() for name in ("user", "item", "time", "multi", "spend")), strict=True)
    told = zip(*(raw[name].to_pylist() for name in ("user", "item", "time", "multi", "spend")), strict=True)
    assert Counter((users[u], items[i], t, m, np.float32(s)) for u, i, t, m, s in found) == Counter(
        (u, i, t, m, np.float32(s)) for u, i, t, m, s in told
    )


def test_items_stand_at_their_index_with_what_train_knows_of_them(dataset: Artefact, spec: DatasetSpec) -> None:
    items, events = pq.read_table(dataset.path / "items.parquet"), pq.read_table(dataset.path / "events.parquet")
    assert len(items) == spec.num_items
    assert items["item_id"].to_pylist()[:FIRST] == [None, None]
    train = events.filter(pa.array(events["split"].to_numpy() == 0))
    count = np.bincount(train["item"].to_numpy(), minlength=len(items))
    assert np.array_equal(items["train_count"].to_numpy(), count)
    assert (np.diff(count[FIRST:]) <= 0).all()
    first = items["first_seen"].to_numpy()
    for place in range(0, len(items), 13):
        times = events["time"].to_numpy()[events["item"].to_numpy() == place]
        assert first[place] == (times.min() if len(times) else -1)
    source = SPEC.source().items
    assert source is not None
    kinds = dict(zip(source["item"].to_pylist(), source["kind"].to_pylist(), strict=True))
    words = pq.read_table(dataset.path / "vocabulary.parquet", filters=[("column", "=", "item.kind")])
    of = dict(zip(words["index"].to_pylist(), words["value"].to_pylist(), strict=True))
    rows = list(zip(items["item_id"].to_pylist(), items["kind"].to_pylist(), strict=True))
    assert [of[code] for name, code in rows[FIRST:]] == [kinds[name] for name, _ in rows[FIRST:]]
    assert max(of) < spec.item_categorical["kind"]
    price = items["price"].to_numpy()[FIRST:]
    assert abs(price.mean()) < 0.2
    assert abs(price.std() - 1) < 0.2


def test_every_index_of_a_log_is_inside_its_table(dataset: Artefact, spec: DatasetSpec) -> None:
    limits = {"history": spec.num_items, "positives": spec.num_items, "row_item": spec.num_items,
              "row_surface": spec.num_surfaces, "row_position": spec.num_positions}  # fmt: skip
    for name in LOGS:
        table = log(dataset, name)
        for column, limit in limits.items():
            held = table[column].combine_chunks().flatten().to_numpy()
            assert ((held >= 1) & (held < limit)).all()
        context = np.array(table["context"].to_pylist())
        assert (context < np.array(list(spec.context.values()))).all()
        assert table["request"].to_pylist() == list(range(len(table)))
        rows = [len(row) for row in table["row_item"].to_pylist()]
        for column, width in (("row_features", len(spec.features)), ("row_labels", len(spec.tasks)), ("row_weight", 1)):
            assert [len(row) for row in table[column].to_pylist()] == [width * count for count in rows]


def test_limits_hold_and_user_logs_have_no_rows(dataset: Artefact, spec: DatasetSpec) -> None:
    train = log(dataset, "train")
    assert max(map(len, train["positives"].to_pylist())) == 5
    assert max(map(len, train["history"].to_pylist())) == 10
    for name, start in (("validation_users", spec.validation_start), ("test_users", spec.test_start)):
        table = log(dataset, name)
        assert set(table["time"].to_pylist()) == {start}
        assert len(set(table["user"].to_pylist())) == len(table)
        assert not any(table["row_item"].to_pylist())


def test_the_train_log_is_shuffled_in_equal_row_groups_enough_for_the_lanes(dataset: Artefact) -> None:
    held = pq.read_metadata(dataset.path / "requests" / "train-00000.parquet")
    sizes = [held.row_group(place).num_rows for place in range(held.num_row_groups)]
    assert len(set(sizes[:-1])) == 1
    assert sizes[-1] <= sizes[0] == row_group_size(sum(sizes), SPEC.lanes)
    assert len(sizes) >= 3 * SPEC.lanes
    time = log(dataset, "train")["time"].to_numpy()
    assert abs(np.corrcoef(np.arange(len(time)), time)[0, 1]) < 5 / math.sqrt(len(time))


def test_row_groups_are_never_tiny() -> None:
    assert row_group_size(10, 24) == 16
    assert row_group_size(24_000, 24) == 250
    assert row_group_size(10**8, 24) == 1024


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


def test_the_same_input_gives_the_same_bytes(dataset: Artefact, tmp_path: Path) -> None:
    again = prepare(SPEC, tmp_path / "again")
    assert digests(again.path) == digests(dataset.path)
    other = prepare(replace(SPEC, seed=1), tmp_path / "other")
    assert digests(other.path)["requests/train-00000.parquet"] != digests(dataset.path)["requests/train-00000.parquet"]
    assert digests(other.path)["events.parquet"] == digests(dataset.path)["events.parquet"]
    assert other.fingerprint != dataset.fingerprint


def test_later_events_change_nothing_of_train(dataset: Artefact, tmp_path: Path) -> None:
    """Without all but a day of the test events the train log is the same to the bit, as is what train knows of items."""
    held = DatasetSpec.from_json(dataset.meta["spec"])
    stop = held.test_start + DAY

    @dataclass(frozen=True)
    class Cut:
        def sources(self) -> dict[str, str]:
            return {}

        def __call__(self) -> Tables:
            tables = SPEC.source()
            assert tables.impressions is not None
            events = tables.events.filter(pa.array(tables.events["time"].to_numpy() < stop))
            shown = tables.impressions.filter(pa.array(tables.impressions["time"].to_numpy() + 7 * DAY <= stop))
            return replace(tables, events=events, impressions=shown)

    split = SplitSpec(validation_start=held.validation_start, test_start=held.test_start)
    cut = prepare(replace(SPEC, source=Cut(), split=split), tmp_path / "cut")
    ours, theirs = digests(dataset.path), digests(cut.path)
    assert ours["requests/train-00000.parquet"] == theirs["requests/train-00000.parquet"]
    assert ours["requests/test-00000.parquet"] != theirs["requests/test-00000.parquet"]
    counts = [pq.read_table(held.path / "items.parquet", columns=["item_id", "train_count"]) for held in (dataset, cut)]
    assert counts[0].equals(counts[1])


@pytest.mark.parametrize("every", ["visit", "day", "week"])
def test_three_hundred_events_of_twenty_users_are_enough(tmp_path: Path, every: str) -> None:
    shop = Shop(users=20, items=40, visits=100, days=90, promotions=False)
    requests = RequestSpec(every=every)  # type: ignore[arg-type]
    small = prepare(DataSpec(source=shop, requests=requests), tmp_path / "small")
    counts = small.meta["counts"]
    assert 250 < counts["events"] < 350
    assert counts["train.requests"] >= 24
    assert counts["test_users.requests"] > 0
    assert small.meta["spec"]["horizon_days"] <= 30


def test_too_little_data_says_of_what(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shop has \d\d usable events; at least 100 are needed"):
        prepare(DataSpec(source=Shop(visits=15)), tmp_path / "few")
    shop = Shop(users=20, items=40, visits=60, days=90, promotions=False)
    with pytest.raises(ValueError, match=r"only \d+ train requests: fewer than data.spec.lanes=100; lower lanes"):
        prepare(DataSpec(source=shop, lanes=100), tmp_path / "few")
    with pytest.raises(ValueError, match="set data.spec.requests.every=visit, not week"):
        spec_of(shop, split=SplitSpec(kind="leave_last_out"))
    assert peek(tmp_path / "few", "dataset") is None


def test_progress_names_every_stage(tmp_path: Path) -> None:
    told: list[str] = []
    prepare(SPEC, tmp_path / "dataset", told.append)
    assert told == [
        "reading the source", "encoding vocabularies", *(f"writing requests: {name}" for name in LOGS), "checking for leaks",
    ]  # fmt: skip


@dataclass(frozen=True)
class SomeHouseholds:
    """The grocery panel's purchases of a few households."""

    households: int = 60

    def sources(self) -> dict[str, str]:
        return {**Journey(promotions=False).sources(), "households": str(self.households)}

    def __call__(self) -> Tables:
        tables = Journey(promotions=False)()
        users = tables.events["user"].unique().take(pa.array(range(self.households)))
        mask = pa.compute.is_in(tables.events["user"], value_set=users.cast(pa.string()))
        return replace(tables, events=tables.events.filter(mask))


@pytest.mark.real
def test_the_grocery_panel_can_be_prepared(tmp_path: Path) -> None:
    spec = DataSpec(source=SomeHouseholds(), requests=RequestSpec(every="week", horizon_days=30.0, max_requests=1000))
    made = prepare(spec, tmp_path / "journey")
    held = DatasetSpec.from_json(opened(made.path, "dataset").meta["spec"])
    assert (held.validation_start, held.test_start) == (1_509_494_400, 1_512_086_400)
    assert [task.name for task in held.tasks] == ["engage", "coupon", "multi", "spend"]
    counts = made.meta["counts"]
    assert 0.3 < counts["repeat_share_of_test"] < 0.6
    assert counts["test_users.requests"] > 40
    table = log(made, "test_users")
    features = log(made, "train")["row_features"].combine_chunks().flatten().to_numpy()
    assert np.isfinite(features).all()
    # own past frequency finds a good part of what households buy again
    hits = [
        len({*h} & {*p}) / len(p)
        for h, p in zip(table["history"].to_pylist(), table["positives"].to_pylist(), strict=True)
    ]
    assert np.mean(hits) > 0.1
