"""Who took what and when, as arrays, and the sparse matrices that count it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy.sparse as sp

from recsys.data.spec import DAY
from recsys.value import require

Weight = Literal["count", "binary", "log1p"]


@dataclass(frozen=True, slots=True)
class Events:
    """Events before a moment, `boundary`: all that a method may know when it is asked at that moment.

    user, item [n] int64 indices, time [n] int64 seconds, each before boundary. Use `Events.of`, which checks them.
    """

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray
    num_users: int
    num_items: int
    boundary: int

    @classmethod
    def of(cls, user: np.ndarray, item: np.ndarray, time: np.ndarray, *, num_users: int, num_items: int) -> Events:
        """All events, the boundary one second after the last. Raises ValueError for an index outside its range."""
        user, item, time = (np.asarray(column, dtype=np.int64) for column in (user, item, time))
        require(len(user) == len(item) == len(time), f"{len(user)} users, {len(item)} items, {len(time)} times")
        for name, column, size in (("user", user, num_users), ("item", item, num_items)):
            bad = (column < 0) | (column >= size)
            require(not bad.any(), f"{name} {column[bad][:1]} is outside 0..{size - 1}: map it to an index first")
        return cls(user, item, time, num_users, num_items, int(time.max(initial=-1)) + 1)

    def __len__(self) -> int:
        return len(self.user)

    def before(self, boundary: int) -> Events:
        """What was known at `boundary`: events strictly before it."""
        return replace(self._where(self.time < boundary), boundary=boundary)

    def since(self, start: int) -> Events:
        """Events at `start` and later."""
        return self._where(self.time >= start)

    def matrix(self, weight: Weight) -> sp.csr_matrix:
        """Events per user and item, [num_users, num_items] float32, item indices sorted within each row."""
        counts = self.weighted(np.ones(len(self), dtype=np.float32))
        if weight == "binary":
            counts.data[:] = 1
        if weight == "log1p":
            counts.data = np.log1p(counts.data)
        return counts

    def weighted(self, weights: np.ndarray) -> sp.csr_matrix:
        """Sum of the weights [n] of each user's events on each item, [num_users, num_items] float32."""
        shape = (self.num_users, self.num_items)
        total = sp.csr_matrix((weights.astype(np.float32), (self.user, self.item)), shape=shape)
        total.sum_duplicates()
        return total

    @property
    def age_days(self) -> np.ndarray:
        """Days from each event to the boundary, [n] float64, positive."""
        return (self.boundary - self.time) / DAY

    def item_counts(self) -> np.ndarray:
        """Events of each item, [num_items] int64."""
        return np.bincount(self.item, minlength=self.num_items)

    def _where(self, mask: np.ndarray) -> Events:
        return replace(self, user=self.user[mask], item=self.item[mask], time=self.time[mask])


def sides(matrix: sp.csr_matrix) -> tuple[int, int]:
    """Rows and columns of a sparse matrix, as whole numbers that a type checker believes in."""
    rows, columns = matrix.get_shape()
    return int(rows), int(columns)


def entry_rows(matrix: sp.csr_matrix) -> np.ndarray:
    """The row of each stored entry, [nnz] int64."""
    return np.repeat(np.arange(sides(matrix)[0]), np.diff(matrix.indptr))
