"""Every row once an epoch, the same global batches for any number of workers, and resuming anywhere."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.batch import Batch
from recsys.data.plan import WINDOW, Plan, RowGroup, Ticket
from recsys.data.reader import BatchReader, direct, read_all
from recsys.data.rows import batch_of
from recsys.data.spec import DatasetSpec
from recsys.data.write import SCHEMA
from tests.data.logs import request_rows, write_groups
from tests.data.test_rows import assert_same, slowly
from tests.model.worlds import dataset

SPEC = dataset()


def write(folder: Path, rows: int, group: int, spec: DatasetSpec) -> None:
    """A request log in which every value tells the request it belongs to."""
    random = np.random.default_rng(rows)
    width = {"context": len(spec.context), "row_features": len(spec.features), "row_labels": len(spec.tasks)}
    columns: dict[str, list] = {field.name: [] for field in SCHEMA}
    for request in range(rows):
        shown, past, taken = random.integers(0, 4), random.integers(0, 5), random.integers(0, 3)
        lengths = {"history": past, "history_age": past, "positives": taken}
        for field in SCHEMA:
            if not pa.types.is_list(field.type):
                columns[field.name].append(request)
            else:
                size = lengths.get(field.name, shown * width.get(field.name, 1))
                columns[field.name].append([request] * int(width["context"] if field.name == "context" else size))
    (folder / "requests").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=SCHEMA), folder / "requests" / "train-00000.parquet", row_group_size=group)


def reader(folder: Path, spec: DatasetSpec, size: int, rank: int = 0, world: int = 1) -> BatchReader:
    plan = Plan.of(folder, "train", lanes=spec.lanes, batch_size=size, seed=5, shuffle=True)
    return BatchReader(folder, "train", spec, plan, share=(rank, world))


def same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.request, b.request) and torch.equal(a.row_features, b.row_features)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 12), st.integers(1, 30), st.integers(1, 4), st.integers(0, 3))
def test_every_row_once_and_batches_that_do_not_depend_on_the_workers(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, size: int, world: int, epoch: int
) -> None:
    folder, spec = tmp_path_factory.mktemp("log"), dataset()
    write(folder, rows, group, spec)
    alone = [set(batch.request.tolist()) for batch in reader(folder, spec, size).epoch(epoch)]
    assert Counter(row for batch in alone for row in batch) == Counter(range(rows))
    parts = [list(reader(folder, spec, size, rank, world).epoch(epoch)) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1, "all workers take the same number of steps"
    together = [sorted(row for batch in step for row in batch.request.tolist()) for step in zip(*parts, strict=True)]
    assert together == [sorted(batch) for batch in alone]


def test_threads_change_nothing(tmp_path: Path) -> None:
    write(tmp_path, 200, 7, SPEC)
    one, many = reader(tmp_path, SPEC, 16), reader(tmp_path, SPEC, 16)
    many.fetch = direct(tmp_path, threads=4)
    assert all(map(same, one.epoch(1), many.epoch(1)))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9))
def test_resuming_is_continuing(tmp_path_factory: pytest.TempPathFactory, step: int) -> None:
    folder, spec = tmp_path_factory.mktemp("log"), dataset()
    write(folder, 83, 6, spec)
    whole = list(reader(folder, spec, 9).epoch(2))
    rest = list(reader(folder, spec, 9).epoch(2, step))
    assert len(rest) == len(whole) - step
    assert all(same(a, b) for a, b in zip(whole[step:], rest, strict=True))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=12),
    st.tuples(st.integers(1, 5), st.integers(1, 30), st.integers(0, 9)),
    st.data(),
)
def test_any_worker_of_any_number_resumes_anywhere_to_the_bit(
    groups: list[int], knobs: tuple[int, int, int], data: st.DataObject
) -> None:
    """Uneven row groups, lanes without any, batches larger than the log: from memory, so that many are tried."""
    lanes, size, epoch = knobs
    world = data.draw(st.integers(1, lanes))
    rank = data.draw(st.integers(0, world - 1))
    table, starts = request_rows(sum(groups), SPEC, seed=len(groups)), np.concatenate([[0], np.cumsum(groups)])
    plan = Plan(tuple(RowGroup("", place, rows) for place, rows in enumerate(groups)), lanes, size, 7, True)
    asked: list[Ticket] = []

    def fetch(tickets: Sequence[Ticket]) -> Iterator[pa.Table]:
        asked.extend(tickets)
        for ticket in tickets:
            window = pa.concat_tables([table.slice(starts[g.group], g.rows) for g in ticket.groups])
            yield window.take(pa.array(np.random.default_rng(ticket.seed).permutation(len(window))))

    share = BatchReader(Path(), "train", SPEC, plan, share=(rank, world), fetch=fetch)
    whole = list(share.epoch(epoch))
    assert len(whole) == share.steps_per_epoch == -(-sum(groups) // size)
    step = data.draw(st.integers(0, len(whole)))
    left = sum(map(len, whole[step:]))
    asked.clear()
    rest = list(share.epoch(epoch, step))
    assert len(rest) == len(whole) - step
    for a, b in zip(whole[step:], rest, strict=True):
        assert_same(a, b)
    begun = {ticket.lane for ticket in asked}
    assert sum(ticket.rows for ticket in asked) - left < len(begun) * WINDOW * max(groups) + 1, "only what is needed"


def test_reading_with_one_lane_and_no_shuffle_is_in_file_order(tmp_path: Path) -> None:
    table = request_rows(50, SPEC)
    write_groups(table, tmp_path, [9, 20, 1, 13, 7], files=3)
    plan = Plan.of(tmp_path, "train", lanes=1, batch_size=8, seed=0, shuffle=False)
    batches = list(BatchReader(tmp_path, "train", SPEC, plan).epoch(3))
    assert [len(batch) for batch in batches] == [8] * 6 + [2]
    assert_same(read_all(tmp_path, "train", SPEC), slowly(table.to_pylist(), SPEC))
    assert torch.cat([batch.request for batch in batches]).tolist() == list(range(50))
    assert_same(batches[2], slowly(table.to_pylist()[16:24], SPEC))
    assert len(read_all(tmp_path, "train", SPEC, 12)) == 12


def test_all_batches_but_the_last_are_full_however_uneven_the_lanes(tmp_path: Path) -> None:
    write_groups(request_rows(66, SPEC), tmp_path, [40, 3, 1, 20, 2])
    plan = Plan.of(tmp_path, "train", lanes=4, batch_size=7, seed=0, shuffle=True)
    for epoch in range(5):
        assert [len(batch) for batch in BatchReader(tmp_path, "train", SPEC, plan).epoch(epoch)] == [7] * 9 + [3]


def test_an_error_while_reading_reaches_the_consumer(tmp_path: Path) -> None:
    write_groups(request_rows(40, SPEC), tmp_path, [5] * 8, files=4)
    plan = Plan.of(tmp_path, "train", lanes=2, batch_size=4, seed=0, shuffle=True)
    (tmp_path / "requests" / "train-00002.parquet").unlink()
    before = threading.active_count()
    with pytest.raises(FileNotFoundError, match="train-00002"):
        list(BatchReader(tmp_path, "train", SPEC, plan).epoch(0))
    assert threading.active_count() == before


def test_a_log_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    for seed in (0, 1):
        table = request_rows(20, SPEC, seed=seed)
        shutil.rmtree(tmp_path / "requests", ignore_errors=True)
        write_groups(table, tmp_path, [5] * 4)
        plan = Plan.of(tmp_path, "train", lanes=1, batch_size=20, seed=0, shuffle=False)
        assert_same(next(iter(BatchReader(tmp_path, "train", SPEC, plan).epoch(0))), slowly(table.to_pylist(), SPEC))


def test_a_batch_of_nobody_is_empty_and_goes_anywhere() -> None:
    nothing = batch_of([], SPEC).to("cpu")
    assert len(nothing) == len(nothing.history) == len(nothing.rows) == 0
    assert nothing.row_features.shape == (0, len(SPEC.features))
    assert_same(nothing, slowly([], SPEC))


def test_rows_keep_what_belongs_to_them(tmp_path: Path) -> None:
    spec = dataset()
    write(tmp_path, 40, 7, spec)
    batch = next(iter(reader(tmp_path, spec, 16).epoch(0)))
    assert torch.equal(batch.request[batch.rows.row], batch.rows.values)
    assert torch.equal(batch.request[batch.history.row], batch.history.values)
    assert torch.equal(batch.request[batch.positives.row], batch.positives.values)
    assert torch.equal(batch.row_features, batch.rows.values[:, None].expand(-1, len(spec.features)).float())
    assert torch.equal(batch.context, batch.request[:, None].expand(-1, len(spec.context)))


def test_epochs_differ_and_repeat(tmp_path: Path) -> None:
    spec = dataset()
    write(tmp_path, 60, 6, spec)
    orders = [torch.cat([b.request for b in reader(tmp_path, spec, 10).epoch(e)]).tolist() for e in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert read_all(tmp_path, "train", spec).request.tolist() == list(range(60))


def test_stopping_early_ends_the_reading_thread(tmp_path: Path) -> None:
    spec = dataset()
    write(tmp_path, 80, 2, spec)
    before = threading.active_count()
    stream = reader(tmp_path, spec, 4).epoch(0)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_more_workers_than_lanes_is_an_error(tmp_path: Path) -> None:
    spec = dataset()
    write(tmp_path, 20, 5, spec)
    with pytest.raises(ValueError, match=r"5 workers need at least as many lanes.*data\.spec\.lanes=5"):
        reader(tmp_path, spec, 4, 0, 5)
