"""The one door to Ray Data: request logs for workers, and maps over the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import pyarrow as pa
import ray
import ray.data

from recsys.artefact import opened
from recsys.data.plan import RowGroup, Ticket
from recsys.data.reader import Fetch, read_ticket

READ_CPUS = 0.25  # of Ray, for a task that reads: workers and readers share small machines


def ray_fetch(dataset: str) -> Fetch:
    """Read tickets in Ray Data tasks, wherever there is a CPU, and take the windows in order: equal to `direct`.

    dataset: the artefact's URI. Every machine that reads opens it by itself, so that a URI of an object store needs no
    shared disk.
    """
    return partial(_stream, dataset)


def _stream(dataset: str, tickets: Sequence[Ticket]) -> Iterator[pa.Table]:
    if not tickets:
        return
    _in_order()
    rows = [{"ticket": _pack(ticket)} for ticket in tickets]
    windows = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        partial(_read, dataset), batch_format="pyarrow", batch_size=None, num_cpus=READ_CPUS
    )
    for held in windows.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=2):
        window = cast(pa.Table, held).column("window")[0]
        yield pa.ipc.open_stream(window.as_buffer()).read_all()


def _in_order() -> None:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False


def _read(dataset: str, block: pa.Table) -> pa.Table:
    """A window as one Arrow stream in one cell, so that no block boundary can cut it."""
    folder = opened(dataset, "dataset", verify=False).path
    cells = [_cell(read_ticket(folder, _unpack(packed))) for packed in block["ticket"].to_pylist()]
    return pa.table({"window": pa.chunked_array(cells, pa.large_binary())})


def _cell(table: pa.Table) -> pa.Array:
    """The table's stream as an array of one value, without a copy of its bytes."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    held = sink.getvalue()
    offsets = pa.py_buffer(np.array([0, held.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, held])


def _pack(ticket: Ticket) -> dict[str, Any]:
    groups = [{"file": group.file, "group": group.group, "rows": group.rows} for group in ticket.groups]
    return {"lane": ticket.lane, "groups": groups, "seed": ticket.seed}


def _unpack(packed: dict[str, Any]) -> Ticket:
    return Ticket(packed["lane"], tuple(RowGroup(**group) for group in packed["groups"]), packed["seed"])


Columns = dict[str, np.ndarray]


def map_ranges(
    total: int, block: int, make: Callable[[], Callable[[np.ndarray], Columns]], *, workers: int, num_cpus: float
) -> Iterator[Columns]:
    """`make()(places)` for every block of range(total), in order, on `workers` Ray Data actors that each call make once.

    A call sees exactly one block, so that its rounding doesn't depend on how Ray cuts its own.
    """
    if not total:
        return
    _in_order()

    class Mapper:
        def __init__(self) -> None:
            self.work = make()

        def __call__(self, batch: Columns) -> Columns:
            start = int(batch["start"][0])
            return self.work(np.arange(start, min(start + block, total)))

    starts = [{"start": start} for start in range(0, total, block)]
    mapped = ray.data.from_items(starts, override_num_blocks=len(starts)).map_batches(
        Mapper, batch_size=1, compute=ray.data.ActorPoolStrategy(size=workers), num_cpus=num_cpus
    )
    for held in mapped.iter_batches(batch_size=block, batch_format="numpy", prefetch_batches=1):
        assert isinstance(held, dict)
        yield held
