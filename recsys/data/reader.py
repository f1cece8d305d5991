"""Batches from request logs: every row once an epoch, the same global batches for any number of workers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from recsys.batch import Batch, Jagged
from recsys.data.plan import Plan, Ticket
from recsys.data.spec import DatasetSpec
from recsys.value import require

Fetch = Callable[[Sequence[Ticket]], Iterator[pa.Table]]
AHEAD = 8  # windows that may wait in memory


class BatchReader:
    """This worker's part of every global batch; (epoch, step) is the whole of its position."""

    def __init__(
        self,
        dataset: Path,
        log: str,
        spec: DatasetSpec,
        plan: Plan,
        *,
        share: tuple[int, int] = (0, 1),
        fetch: Fetch | None = None,
    ) -> None:
        self.rank, self.world = share
        require(
            self.world <= spec.lanes,
            f"{self.world} workers need at least as many lanes, and the dataset has {spec.lanes}: prepare the data with "
            f"data.spec.lanes={self.world} or more",
        )
        self.spec, self.plan, self.log, self.dataset = spec, plan, log, dataset
        self.fetch = fetch or direct
        self.steps_per_epoch = plan.steps(0)

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from a step on, in order; a batch may be empty when others still have rows."""
        lanes = {lane: _Lane(self.plan, lane) for lane in range(self.rank, self.plan.lanes, self.world)}
        tickets = self.plan.tickets(epoch)
        wanted = _reading_order(tickets, lanes, start_step)
        stream = self.fetch([ticket for ticket, _ in wanted])
        arrivals = zip(wanted, stream, strict=True)
        try:
            for step in range(start_step, self.plan.steps(epoch)):
                parts = [lane.take(step, tickets, arrivals, lanes) for lane in lanes.values()]
                yield batch_of([part for part in parts if part is not None and len(part)], self.spec)
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()


class _Lane:
    """The windows of one lane that have arrived and aren't used up."""

    def __init__(self, plan: Plan, lane: int) -> None:
        self.plan, self.lane = plan, lane
        self.held: list[tuple[int, pa.Table]] = []  # (first row, counted from the lane's beginning; rows)
        self.arrived = 0

    def take(
        self, step: int, tickets: list[list[Ticket]], arrivals: Iterator, lanes: dict[int, _Lane]
    ) -> pa.Table | None:
        start, stop = self.plan.quota(self.lane, step)
        stop = min(stop, sum(ticket.rows for ticket in tickets[self.lane]))
        while self.arrived < stop:
            (ticket, first), table = next(arrivals)
            other = lanes[ticket.lane]
            other.held.append((first, table))
            other.arrived = first + len(table)
        pieces = [
            t.slice(max(0, start - f), min(stop, f + len(t)) - max(start, f))
            for f, t in self.held
            if f < stop and f + len(t) > start
        ]
        self.held = [(first, table) for first, table in self.held if first + len(table) > stop]
        return pa.concat_tables(pieces) if pieces else None


def _reading_order(tickets: list[list[Ticket]], lanes: dict[int, _Lane], start_step: int) -> list[tuple[Ticket, int]]:
    """Windows of this worker's lanes in the order in which steps need them; those used up before are left out."""
    wanted = []
    for lane, state in lanes.items():
        first = 0
        begin = state.plan.quota(lane, start_step)[0]
        for ticket in tickets[lane]:
            if first + ticket.rows > begin:
                wanted.append((first, lane, ticket))
            first += ticket.rows
    return [(ticket, first) for first, _, ticket in sorted(wanted, key=lambda entry: entry[:2])]


def read_ticket(ticket: Ticket) -> pa.Table:
    """The rows of a window, permuted by its seed."""
    table = pa.concat_tables([_open(group.path).read_row_group(group.group) for group in ticket.groups])
    if ticket.seed is None:
        return table.combine_chunks()
    return table.take(np.random.default_rng(ticket.seed).permutation(len(table))).combine_chunks()


@lru_cache(maxsize=64)
def _open(path: str) -> pq.ParquetFile:
    return pq.ParquetFile(path, memory_map=True)


def direct(tickets: Sequence[Ticket]) -> Iterator[pa.Table]:
    """Read in a thread of this process, a few windows ahead; the thread ends when the consumer does."""
    done = threading.Event()
    ready: queue.Queue[pa.Table | BaseException] = queue.Queue(AHEAD)

    def read() -> None:
        try:
            for ticket in tickets:
                if not _put(ready, read_ticket(ticket), done):
                    return
        except BaseException as error:
            _put(ready, error, done)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        for _ in tickets:
            table = ready.get()
            if isinstance(table, BaseException):
                raise table
            yield table
    finally:
        done.set()
        thread.join()


def _put(ready: queue.Queue, held: pa.Table | BaseException, done: threading.Event) -> bool:
    while not done.is_set():
        try:
            ready.put(held, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def read_all(dataset: Path, log: str, spec: DatasetSpec, limit: int | None = None) -> Batch:
    """A whole request log (or its first rows) as one batch, in file order."""
    paths = sorted((dataset / "requests").glob(f"{log}-*.parquet"))
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    return batch_of([table if limit is None else table.slice(0, limit)], spec)


def batch_of(tables: Sequence[pa.Table], spec: DatasetSpec) -> Batch:
    """Request rows as tensors; no rows give an empty batch."""
    if not tables:
        return _empty(spec)
    table = pa.concat_tables(tables).combine_chunks()
    if not len(table):
        return _empty(spec)
    column = {name: table[name].chunk(0) for name in table.column_names}
    offsets, items = _list(column["row_item"])
    return Batch(
        request=_tensor(column["request"].to_numpy()),
        user=_tensor(column["user"].to_numpy()).long(),
        time=_tensor(column["time"].to_numpy()),
        context=_list(column["context"])[1].long().view(-1, len(spec.context)),
        history=_jagged(column["history"]),
        history_age=_list(column["history_age"])[1],
        positives=_jagged(column["positives"]),
        rows=Jagged(items.long(), offsets),
        row_context=torch.stack([_list(column["row_surface"])[1], _list(column["row_position"])[1]], dim=1).long(),
        row_features=_list(column["row_features"])[1].view(-1, len(spec.features)),
        labels=_list(column["row_labels"])[1].view(-1, len(spec.tasks)),
        row_weight=_list(column["row_weight"])[1],
    )


def _jagged(array: pa.ListArray) -> Jagged:
    offsets, values = _list(array)
    return Jagged(values.long(), offsets)


def _list(array: pa.ListArray) -> tuple[Tensor, Tensor]:
    offsets = array.offsets.to_numpy().astype(np.int64)
    values = array.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
    return torch.from_numpy(offsets - offsets[0]), _tensor(values)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def _empty(spec: DatasetSpec) -> Batch:
    none, ids = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    jagged = Jagged(ids, torch.zeros(1, dtype=torch.int64))
    return Batch(
        request=ids, user=ids, time=ids, context=ids.reshape(0, len(spec.context)),
        history=jagged, history_age=none, positives=jagged, rows=jagged,
        row_context=ids.reshape(0, 2), row_features=none.reshape(0, len(spec.features)),
        labels=none.reshape(0, len(spec.tasks)), row_weight=none,
    )  # fmt: skip
