"""Every row once an epoch, the same global batches for any number of workers, and resuming anywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.batch import Batch
from recsys.data.plan import Plan
from recsys.data.reader import BatchReader, read_all
from recsys.data.spec import DatasetSpec
from recsys.data.write import SCHEMA
from tests.model.worlds import dataset


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


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 9))
def test_resuming_is_continuing(tmp_path_factory: pytest.TempPathFactory, step: int) -> None:
    folder, spec = tmp_path_factory.mktemp("log"), dataset()
    write(folder, 83, 6, spec)
    whole = list(reader(folder, spec, 9).epoch(2))
    rest = list(reader(folder, spec, 9).epoch(2, step))
    assert len(rest) == len(whole) - step
    assert all(same(a, b) for a, b in zip(whole[step:], rest, strict=True))


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
    import threading

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
