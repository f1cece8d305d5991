"""Which rows make which global batch, whatever the number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recsys.random import rng, stream_seed
from recsys.value import require

WINDOW = 2  # row groups that are permuted together
LONGEST_LANE = 1 << 25  # rows: up to here quotients of whole numbers order themselves exactly in float64


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group of one file."""

    file: str  # below the dataset's folder, wherever a reader has it
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
    """Row groups dealt to lanes, an epoch at a time; a worker owns whole lanes.

    All lanes advance at the same relative speed, so that they end together: every global batch of an epoch but the last
    has batch_size rows, and each lane's part of it is in proportion to the lane's length. The rows of batch s don't
    depend on the number of workers, and nothing is read twice.
    """

    groups: tuple[RowGroup, ...]
    lanes: int
    batch_size: int
    seed: int
    shuffle: bool  # False: the row groups of a lane, and their rows, in the order of the files

    @classmethod
    def of(cls, dataset: Path, log: str, *, lanes: int, batch_size: int, seed: int, shuffle: bool) -> Plan:
        """The plan of a request log. Raises ValueError when the log is missing or empty."""
        paths = sorted((dataset / "requests").glob(f"{log}-*.parquet"))
        require(bool(paths), f"{dataset} has no request log {log!r}: prepare the data again")
        require(batch_size > 0, f"batch_size must be positive, got {batch_size}")
        require(lanes > 0, f"lanes must be positive, got {lanes}")
        groups = []
        for path in paths:
            held = pq.read_metadata(path)
            name = path.relative_to(dataset).as_posix()
            groups += [RowGroup(name, g, held.row_group(g).num_rows) for g in range(held.num_row_groups)]
        plan = cls(tuple(group for group in groups if group.rows), lanes, batch_size, seed, shuffle)
        require(plan.rows > 0, f"request log {log!r} of {dataset} is empty: prepare the data with other splits")
        longest = plan.rows // lanes + max(group.rows for group in plan.groups)
        require(
            longest <= LONGEST_LANE, f"lanes of {longest} rows are too long: prepare the data with more than {lanes}"
        )
        return plan

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)

    @property
    def steps(self) -> int:
        """Global batches of every epoch."""
        return -(-self.rows // self.batch_size)

    def tickets(self, epoch: int) -> list[list[Ticket]]:
        """The windows of every lane in order."""
        order = np.arange(len(self.groups))
        if self.shuffle:
            order = rng(self.seed, "epoch", epoch).permutation(order)
        lanes = []
        for lane in range(self.lanes):
            groups = [self.groups[place] for place in order[lane :: self.lanes]]
            windows = [tuple(groups[start : start + WINDOW]) for start in range(0, len(groups), WINDOW)]
            seeds = [stream_seed(self.seed, "window", epoch, lane, n) for n in range(len(windows))]
            lanes.append([Ticket(lane, w, s if self.shuffle else None) for w, s in zip(windows, seeds, strict=True)])
        return lanes

    def cut(self, lengths: np.ndarray, step: int) -> np.ndarray:
        """How many rows of each lane the batches before `step` use, [lanes]; `lengths` are the lanes' rows."""
        return webster(lengths, min(step * self.batch_size, int(lengths.sum())))


def webster(lengths: np.ndarray, seats: int) -> np.ndarray:
    """Seats of each party by the method of Webster and Sainte-Laguë: the rows of each lane among the first `seats`.

    Row i of a lane of n rows stands at (2 i + 1) / n; equals stand in the order of the lanes. One seat more never takes
    one from a party, which is why this method and not that of the largest remainder (Balinski and Young, 1982).
    """
    total = int(lengths.sum())
    if seats >= total:
        return lengths.copy()
    taken = (2 * seats * lengths + total) // (2 * total)
    excess = int(taken.sum()) - seats  # fewer than there are lanes
    near = np.arange(1, abs(excess) + 1)
    row = taken[:, None] - near if excess > 0 else taken[:, None] + near - 1  # [lanes, |excess|], on the way back or on
    place = (2 * row + 1) / np.maximum(lengths, 1)[:, None]
    place[row < 0], place[row >= lengths[:, None]] = -np.inf, np.inf
    lane = np.broadcast_to(np.arange(len(lengths))[:, None], row.shape).ravel()
    order = np.lexsort((lane, place.ravel()))
    moved = np.bincount(lane[order[-excess:] if excess > 0 else order[:-excess]], minlength=len(lengths))
    return taken - moved if excess > 0 else taken + moved
