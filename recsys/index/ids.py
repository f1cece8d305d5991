"""Item ids and places in an index stand for each other; ids that the engine keeps anyway, or in a row, need no table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from recsys.value import require

IDS_FILE = "ids.npy"
BLOCK = 1 << 20  # ids compared at a time


@dataclass(frozen=True)
class Ids:
    """The id at each of n places: `first` and those after it, or `first` plus what a table says."""

    count: int
    first: int = 0
    table: np.ndarray | None = None  # [n] integers, None where ids are consecutive

    @classmethod
    def of(cls, ids: np.ndarray) -> Ids:
        first = int(ids[0]) if len(ids) else 0
        if len(ids) and int(ids[-1]) - first != len(ids) - 1:
            return cls(len(ids), table=ids)
        for start in range(0, len(ids), BLOCK):
            block = ids[start : start + BLOCK]
            if not np.array_equal(block, np.arange(first + start, first + start + len(block))):
                return cls(len(ids), table=ids)
        return cls(len(ids), first)

    @cached_property
    def every(self) -> np.ndarray:
        """[n] int64."""
        if self.table is None:
            return np.arange(self.first, self.first + self.count)
        ids = np.asarray(self.table, np.int64)
        return ids + self.first if self.first else ids

    def at(self, places: np.ndarray) -> np.ndarray:
        """The ids at these places; -1 where a place is -1."""
        there = places >= 0
        held = places if self.table is None else self.table[np.where(there, places, 0)]
        return np.where(there, held.astype(np.int64) + self.first, -1)

    def places(self, ids: np.ndarray) -> np.ndarray:
        """The places of these ids, -1 of those that aren't held."""
        if self.table is None:
            inside = (ids >= self.first) & (ids < self.first + self.count)
            return np.where(inside, ids - self.first, -1)
        order, told = self._order, ids - self.first
        at = np.minimum(np.searchsorted(self.table, told, sorter=order), self.count - 1)
        return np.where(self.table[order[at]] == told, order[at], -1)

    def above(self, rows: np.ndarray) -> int | None:
        """By how much every id is more than its place's row [n]; None where that isn't one number, or a negative one."""
        if not self.count:
            return 0
        more = int(self.at(np.zeros(1, np.int64))[0]) - int(rows[0])
        starts = range(0, self.count, BLOCK)
        blocks = (np.arange(start, min(start + BLOCK, self.count)) for start in starts)
        told = more >= 0 and all(
            np.array_equal(self.at(block), rows[block].astype(np.int64) + more) for block in blocks
        )
        return more if told else None

    def mask(self, allowed: np.ndarray) -> np.ndarray:
        """[..., n] over places of a mask [..., V] over ids; ids beyond it aren't allowed."""
        width = allowed.shape[-1]
        if self._largest >= width:
            missing = np.zeros((*allowed.shape[:-1], self._largest + 1 - width), dtype=bool)
            allowed = np.concatenate([allowed, missing], axis=-1)
        if self.table is None:
            return allowed[..., self.first : self.first + self.count]  # no copy: it may be a hundred million bytes
        return allowed[..., self.first :][..., self.table]

    def save(self, folder: Path) -> None:
        np.save(folder / IDS_FILE, self.every)

    @classmethod
    def load(cls, folder: Path, count: int) -> Ids:
        """Raises ValueError when there aren't `count` of them."""
        path = folder / IDS_FILE
        require(path.is_file(), f"{path} is missing; build the index again with jobs.index")
        table = np.load(path, mmap_mode="r", allow_pickle=False)
        require(len(table) == count, f"{folder}: {len(table)} ids for {count} vectors; build the index again")
        return cls.of(table)

    @cached_property
    def _largest(self) -> int:
        if self.table is None:
            return self.first + self.count - 1
        return self.first + int(self.table.max())

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.every if self.table is None else self.table, kind="stable")
