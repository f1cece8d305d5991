"""Which rows make which global batch, whatever the number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recsys.random import rng, stream_seed
from recsys.value import require

WINDOW = 2  # row groups that are permuted together


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group of one file."""

    path: str
    group: int
    rows: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """A window of row groups of a lane, and the seed of the order in which its rows come."""

    lane: int
    groups: tuple[RowGroup, ...]
    seed: int | None  # None: as in the files

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)


@dataclass(frozen=True, slots=True)
class Plan:
    """Row groups dealt to lanes, an epoch at a time.

    A global batch takes rows from every lane, as many as the lane's quota of that step; a worker owns whole lanes. So
    the rows of batch s don't depend on the number of workers, and nothing is read twice.
    """

    groups: tuple[RowGroup, ...]
    lanes: int
    batch_size: int
    seed: int
    shuffle: bool

    @classmethod
    def of(cls, dataset: Path, log: str, *, lanes: int, batch_size: int, seed: int, shuffle: bool) -> Plan:
        paths = sorted((dataset / "requests").glob(f"{log}-*.parquet"))
        require(bool(paths), f"{dataset} has no request log {log!r}: prepare the data again")
        require(batch_size > 0, f"batch_size must be positive, got {batch_size}")
        groups = []
        for path in paths:
            held = pq.read_metadata(path)
            groups += [RowGroup(str(path), g, held.row_group(g).num_rows) for g in range(held.num_row_groups)]
        return cls(tuple(group for group in groups if group.rows), lanes, batch_size, seed, shuffle)

    def tickets(self, epoch: int) -> list[list[Ticket]]:
        """The windows of every lane in order."""
        order = np.arange(len(self.groups))
        if self.shuffle:
            order = rng(self.seed, "epoch", epoch).permutation(order)
        lanes = []
        for lane in range(self.lanes):
            groups = [self.groups[place] for place in order[lane :: self.lanes]]
            windows = [tuple(groups[start : start + WINDOW]) for start in range(0, len(groups), WINDOW)]
            seeds = [
                stream_seed(self.seed, "window", epoch, lane, n) if self.shuffle else None for n in range(len(windows))
            ]
            lanes.append([Ticket(lane, window, seed) for window, seed in zip(windows, seeds, strict=True)])
        return lanes

    def quota(self, lane: int, step: int) -> tuple[int, int]:
        """The rows of a lane, counted from its beginning, that step takes: [start, stop)."""
        place = np.arange(step, step + 2) * self.batch_size
        start, stop = (place + self.lanes - 1 - lane) // self.lanes
        return int(start), int(stop)

    def steps(self, epoch: int) -> int:
        """Global batches of an epoch: until the longest lane is used up."""
        lengths = [sum(ticket.rows for ticket in lane) for lane in self.tickets(epoch)]
        step = 0
        longest = max(lengths, default=0)
        step = max(0, longest * self.lanes // self.batch_size - 1)
        while any(self.quota(lane, step)[0] < length for lane, length in enumerate(lengths)):
            step += 1
        return step
