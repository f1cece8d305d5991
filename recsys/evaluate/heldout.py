"""What a method is asked, and what happened: users at a boundary, their past, and what they took afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.batch import Jagged
from recsys.evaluate.events import Events
from recsys.value import require


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Every user in it took something after the boundary; nothing in it but `relevant` is from after the boundary.

    Rows of `relevant` and `seen` belong to `users`; both hold distinct item indices.
    """

    users: np.ndarray  # [U] int64, given to scorers
    relevant: Jagged  # items taken after the boundary
    seen: Jagged  # items taken before it
    train_counts: Tensor  # [V] int64, events before the boundary
    offered: Tensor  # [V] bool, items that may be recommended at all
    surface: Tensor  # [n] int64, where each relevant item was first taken, parallel to relevant.values

    def __post_init__(self) -> None:
        num_users, num_items = len(self.users), len(self.offered)
        for name, rows in (("relevant", self.relevant), ("seen", self.seen)):
            require(len(rows) == num_users, f"{name} has {len(rows)} rows for {num_users} users")
            low, high = (int(rows.values.min()), int(rows.values.max())) if len(rows.values) else (0, 0)
            require(low >= 0 and high < num_items, f"{name} holds item {low if low < 0 else high} of {num_items} items")
            keys = rows.row * num_items + rows.values
            require(len(keys.unique()) == len(keys), f"{name} names an item twice for one user: take distinct items")
        require(len(self.train_counts) == num_items, f"{len(self.train_counts)} train_counts for {num_items} items")
        require(
            len(self.surface) == len(self.relevant.values),
            f"{len(self.surface)} surfaces for {len(self.relevant.values)} relevant items",
        )

    @property
    def num_items(self) -> int:
        return len(self.offered)

    @classmethod
    def between(
        cls, past: Events, future: Events, *, surface: np.ndarray | None = None, offered: np.ndarray | None = None
    ) -> HeldOut:
        """Users with an event in `future`, asked at `past.boundary`.

        surface [len(future)]: where each future event happened, all 0 when left out; offered [V] bool, every item
        when left out. Raises ValueError when a future event lies before the boundary.
        """
        early = future.time < past.boundary
        require(not early.any(), f"{early.sum()} future events lie before the boundary {past.boundary}: a leak")
        users = np.unique(future.user)
        surface = np.zeros(len(future), np.int64) if surface is None else np.asarray(surface, np.int64)
        order = np.argsort(future.time, kind="stable")
        taken = future.user[order] * future.num_items + future.item[order]
        first = order[np.unique(taken, return_index=True)[1]]
        offered = np.ones(past.num_items, bool) if offered is None else offered
        return cls(
            users=users,
            relevant=_jagged(future.user[first], future.item[first], users),
            seen=_rows(past.matrix("binary"), users),
            train_counts=torch.from_numpy(past.item_counts()),
            offered=torch.from_numpy(np.asarray(offered, bool)),
            surface=torch.from_numpy(surface[first]),
        )

    def sample(self, num_users: int, rng: np.random.Generator) -> HeldOut:
        """At most num_users of the users, drawn without replacement, in the same order."""
        if num_users >= len(self.users):
            return self
        chosen = np.sort(rng.choice(len(self.users), num_users, replace=False))
        kept = torch.zeros(len(self.users), dtype=torch.bool)
        kept[torch.from_numpy(chosen)] = True
        return replace(
            self,
            users=self.users[chosen],
            relevant=_take(self.relevant, kept),
            seen=_take(self.seen, kept),
            surface=self.surface[kept[self.relevant.row]],
        )


def keep_entries(rows: Jagged, keep: Tensor) -> Jagged:
    """The same rows with only the entries where keep [n] holds."""
    lengths = torch.zeros(len(rows), dtype=torch.int64).index_add_(0, rows.row, keep.long())
    return Jagged(rows.values[keep], torch.nn.functional.pad(lengths.cumsum(0), (1, 0)))


def _take(rows: Jagged, kept: Tensor) -> Jagged:
    return Jagged(rows.values[kept[rows.row]], torch.nn.functional.pad(rows.lengths[kept].cumsum(0), (1, 0)))


def _jagged(user: np.ndarray, item: np.ndarray, users: np.ndarray) -> Jagged:
    """Items by user, for entries sorted by user."""
    offsets = np.append(np.searchsorted(user, users), len(user))
    return Jagged(torch.from_numpy(item), torch.from_numpy(offsets))


def _rows(matrix: sp.csr_matrix, users: np.ndarray) -> Jagged:
    held = matrix[users]
    return Jagged(torch.from_numpy(held.indices.astype(np.int64)), torch.from_numpy(held.indptr.astype(np.int64)))
