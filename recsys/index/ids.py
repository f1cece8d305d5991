"""Item ids and places in an index stand for each other; ids in a row need no table."""

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
    """The id at each of n places: `first` and those after it, or what a table says."""

    count: int
    first: int = 0
    table: np.ndarray | None = None  # [n] int64, None where ids are consecutive

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
        return np.arange(self.first, self.first + self.count) if self.table is None else self.table

    def at(self, places: np.ndarray) -> np.ndarray:
        """The ids at these places; -1 where a place is -1."""
        there = places >= 0
        held = places + self.first if self.table is None else self.table[np.where(there, places, 0)]
        return np.where(there, held, -1)

    def places(self, ids: np.ndarray) -> np.ndarray:
        """The places of these ids, -1 of those that aren't held."""
        if self.table is None:
            inside = (ids >= self.first) & (ids < self.first + self.count)
            return np.where(inside, ids - self.first, -1)
        order = self._order
        at = np.minimum(np.searchsorted(self.table, ids, sorter=order), self.count - 1)
        return np.where(self.table[order[at]] == ids, order[at], -1)

    def mask(self, allowed: np.ndarray) -> np.ndarray:
        """[..., n] over places of a mask [..., V] over ids; ids beyond it aren't allowed."""
        width = allowed.shape[-1]
        if self._largest >= width:
            missing = np.zeros((*allowed.shape[:-1], self._largest + 1 - width), dtype=bool)
            allowed = np.concatenate([allowed, missing], axis=-1)
        if self.table is None:
            return allowed[..., self.first : self.first + self.count]  # no copy: it may be a hundred million bytes
        return allowed[..., self.table]

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
        return int(self.table.max())

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.every, kind="stable")
