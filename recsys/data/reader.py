"""Batches from request logs: every row once an epoch, the same global batches for any number of workers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.batch import Batch
from recsys.data.ahead import mapped_ahead
from recsys.data.plan import Plan, Ticket
from recsys.data.rows import Piece, Requests, batch_of, reordered
from recsys.data.spec import DatasetSpec
from recsys.value import require

Fetch = Callable[[Sequence[Ticket]], Iterator[pa.Table]]  # what read_ticket gives, in the order of the tickets
Opener = Callable[[Path], pq.ParquetFile]
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
        require(0 <= self.rank < self.world, f"a share is (rank, world) with 0 <= rank < world, got {share}")
        require(
            self.world <= plan.lanes,
            f"{self.world} workers need at least as many lanes, and the dataset has {plan.lanes}: prepare the data with "
            f"data.spec.lanes={self.world} or more",
        )
        self.spec, self.plan, self.log, self.dataset = spec, plan, log, dataset
        self.fetch = fetch or direct(dataset)
        self.steps_per_epoch = plan.steps

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from a step on, in order; a worker's part may be empty.

        Windows that earlier steps have used up aren't read. Close the iterator to stop reading before its end.
        """
        tickets = self.plan.tickets(epoch)
        lengths = np.array([sum(ticket.rows for ticket in lane) for lane in tickets])
        used = self.plan.cut(lengths, start_step)
        lanes = {lane: _Lane(int(used[lane])) for lane in range(self.rank, self.plan.lanes, self.world)}
        wanted = _reading_order([tickets[lane] for lane in lanes], lengths, used)
        stream = self.fetch([ticket for _, ticket in wanted])
        arrivals = zip(wanted, stream, strict=True)
        try:
            for step in range(start_step, self.steps_per_epoch):
                start, used = used, self.plan.cut(lengths, step + 1)
                for lane, held in lanes.items():
                    while held.arrived < used[lane]:
                        (first, ticket), table = next(arrivals)
                        lanes[ticket.lane].add(first, Requests.of(table, self.spec))
                pieces = [
                    piece for lane, held in lanes.items() for piece in held.take(int(start[lane]), int(used[lane]))
                ]
                yield batch_of(pieces, self.spec)
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()


@dataclass(slots=True)
class _Lane:
    """The windows of one lane that have arrived and aren't used up; rows count from the lane's beginning."""

    arrived: int  # rows that have, or that earlier steps have used up
    held: list[tuple[int, Requests]] = field(default_factory=list)  # (first row, rows)

    def add(self, first: int, window: Requests) -> None:
        self.held.append((first, window))
        self.arrived = first + len(window)

    def take(self, start: int, stop: int) -> list[Piece]:
        pieces = [Piece(w, max(start - first, 0), min(stop - first, len(w))) for first, w in self.held if first < stop]
        self.held = [(first, window) for first, window in self.held if first + len(window) > stop]
        return pieces


def _reading_order(lanes: list[list[Ticket]], lengths: np.ndarray, used: np.ndarray) -> list[tuple[int, Ticket]]:
    """(first row, window) in the order in which steps need them; those used up before are left out."""
    wanted = []
    for tickets in lanes:
        first = 0
        for ticket in tickets:
            if first + ticket.rows > used[ticket.lane]:
                wanted.append((first / lengths[ticket.lane], ticket.lane, first, ticket))
            first += ticket.rows
    return [(first, ticket) for _, _, first, ticket in sorted(wanted, key=lambda entry: entry[:3])]


def open_file(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, memory_map=True)


def read_ticket(dataset: Path, ticket: Ticket, opener: Opener = open_file) -> pa.Table:
    """The rows of a window of the dataset in this folder, permuted by the ticket's seed."""
    table = pa.concat_tables([opener(dataset / group.file).read_row_group(group.group) for group in ticket.groups])
    if ticket.seed is None:
        return table.combine_chunks()
    return reordered(table, np.random.default_rng(ticket.seed).permutation(len(table)))


def direct(dataset: Path, threads: int = 1) -> Fetch:
    """Read in threads of this process, a few windows ahead; they end when the consumer does."""
    return partial(_read_ahead, dataset, threads)


def _read_ahead(dataset: Path, threads: int, tickets: Sequence[Ticket]) -> Iterator[pa.Table]:
    held = threading.local()  # an open file is no thing for two threads

    def read(ticket: Ticket) -> pa.Table:
        if not hasattr(held, "opener"):  # of this stream: the next one may find other files under the names
            held.opener = lru_cache(maxsize=64)(open_file)
        return read_ticket(dataset, ticket, held.opener)

    return mapped_ahead(read, tickets, AHEAD + threads, threads)


def read_all(dataset: Path, log: str, spec: DatasetSpec, limit: int | None = None) -> Batch:
    """A whole request log (or its first rows) as one batch, in file order."""
    paths = sorted((dataset / "requests").glob(f"{log}-*.parquet"))
    require(bool(paths), f"{dataset} has no request log {log!r}: prepare the data again")
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    window = Requests.of(table if limit is None else table.slice(0, limit), spec)
    return batch_of([Piece(window, 0, len(window))], spec)
