"""What a model must beat: five methods without a gradient, each tuned with the same number of trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import scipy.sparse as sp
import torch

from recsys.evaluate.events import Events, Weight, entry_rows, sides
from recsys.evaluate.ranks import Scorer
from recsys.value import require, value

BLOCK = 16_000_000  # similarities held at a time


class Baseline(Protocol):
    """A frozen set of knobs; `fit` reads nothing but the events and answers for any of their users."""

    def fit(self, train: Events) -> Scorer: ...


@value
class Popular:
    """Most people take what most people take; a short window follows the season.

    count: every event, or each user once.
    """

    window_days: float | None = None
    count: Literal["events", "users"] = "events"

    def __post_init__(self) -> None:
        require(
            self.window_days is None or self.window_days > 0,
            f"window_days must be positive or null for all of the past, got {self.window_days}",
        )

    def fit(self, train: Events) -> Scorer:
        return _Everyone(self.counts(train))

    def counts(self, train: Events) -> np.ndarray:
        """How often each item was taken in the window, [V] float32."""
        recent = train
        if self.window_days is not None:
            recent = train.since(train.boundary - int(self.window_days * 86_400))
        matrix = recent.matrix("count" if self.count == "events" else "binary")
        return np.asarray(matrix.sum(0), dtype=np.float32).ravel()


@dataclass(frozen=True, slots=True)
class _Everyone:
    scores: np.ndarray  # [V]

    def __call__(self, users: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self.scores, (len(users), len(self.scores)))


@value
class OwnFrequency:
    """People buy again what they bought often and lately; popular items fill the rest of the list.

    An event's weight halves every half_life_days (null: never); equal weights stand by the last time, newest first.
    """

    half_life_days: float | None = None
    fill: Popular = Popular(window_days=28.0, count="users")

    def __post_init__(self) -> None:
        require(
            self.half_life_days is None or self.half_life_days > 0,
            f"half_life_days must be positive or null, got {self.half_life_days}",
        )

    def fit(self, train: Events) -> Scorer:
        age = train.age_days
        weights = np.ones(len(train)) if self.half_life_days is None else 0.5 ** (age / self.half_life_days)
        own = train.weighted(weights)
        last = _last_times(train, own)
        # place within the user's row from worst to best: small whole numbers, so exact in float32
        row = entry_rows(own)
        order = np.lexsort((last, own.data, row))
        place = np.empty(own.nnz, dtype=np.float32)
        place[order] = np.arange(own.nnz) - np.asarray(own.indptr)[row[order]]
        own.data = place + 1
        popular = self.fill.counts(train)
        return _OwnThenPopular(own, popular / (popular.max(initial=0) + 1))


@dataclass(frozen=True, slots=True)
class _OwnThenPopular:
    own: sp.csr_matrix  # [U, V], at least 1 where the user took the item
    popular: np.ndarray  # [V] in [0, 1)

    def __call__(self, users: np.ndarray) -> np.ndarray:
        scores = np.tile(self.popular, (len(users), 1))
        rows = sp.csr_matrix(self.own[users])
        scores[entry_rows(rows), rows.indices] = rows.data
        return scores


def _last_times(train: Events, own: sp.csr_matrix) -> np.ndarray:
    """Time of the last event of each entry of the matrix, in the order of its data."""
    order = np.lexsort((train.time, train.item, train.user))
    keys = train.user[order] * train.num_items + train.item[order]
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, bool)
    return train.time[order][last]


@value
class ItemItem:
    """Items that the same people take go together: cosine of the items' users, damped where few support it.

    similarity(i, j) = x_i . x_j / (|x_i| |x_j| + shrink), the `neighbours` largest kept for each item i that at least
    min_users took; an item's score is the sum over the user's items of their weight times the similarity. keep_self
    counts an item as its own neighbour, so that what the user has is offered again.
    (Sarwar et al., 2001; shrinkage as in Bell and Koren, 2007.)
    """

    weight: Weight = "log1p"
    shrink: float = 10.0
    neighbours: int = 200
    min_users: int = 5
    keep_self: bool = False

    def __post_init__(self) -> None:
        require(self.shrink >= 0, f"shrink must not be negative, got {self.shrink}")
        require(self.neighbours >= 1, f"neighbours must be at least 1, got {self.neighbours}")
        require(self.min_users >= 1, f"min_users must be at least 1, got {self.min_users}")

    def fit(self, train: Events) -> Scorer:
        matrix = train.matrix(self.weight)
        return _Weighted(matrix, self.similarity(matrix))

    def similarity(self, matrix: sp.csr_matrix) -> sp.csr_matrix:
        """[V, V] float32, row i holding item i's neighbours; memory for V x neighbours and one block of V columns."""
        num_items = sides(matrix)[1]
        supported = np.flatnonzero(matrix.getnnz(axis=0) >= self.min_users)
        columns = sp.csr_matrix(matrix[:, supported])
        norms = np.sqrt(np.asarray(columns.multiply(columns).sum(0), dtype=np.float64)).ravel().astype(np.float32)
        items = sp.csr_matrix(columns.T)  # [supported, U]
        step = max(1, BLOCK // max(1, len(supported)))
        parts = []
        for start in range(0, len(supported), step):
            dots = sp.csr_matrix(items[start : start + step] @ columns).toarray()
            dots /= norms[start : start + step, None] * norms + np.float32(self.shrink)
            parts.append(_strongest(dots, start, self))
        if not parts:
            return sp.csr_matrix((num_items, num_items), dtype=np.float32)
        near = sp.vstack(parts).tocoo()
        return sp.csr_matrix((near.data, (supported[near.row], supported[near.col])), shape=(num_items, num_items))


def _strongest(block: np.ndarray, start: int, knobs: ItemItem) -> sp.csr_matrix:
    """The largest entries of each row of a block of similarities [b, n], whose row r is item start + r."""
    rows = np.arange(len(block))
    if not knobs.keep_self:
        block[rows, start + rows] = 0
    keep = min(knobs.neighbours, block.shape[1])
    held, near = (found.numpy() for found in torch.from_numpy(block).topk(keep, dim=1))
    indptr = np.arange(len(block) + 1) * keep
    kept = sp.csr_matrix((held.ravel(), near.ravel(), indptr), shape=block.shape)
    kept.eliminate_zeros()
    return kept


@dataclass(frozen=True, slots=True)
class _Weighted:
    matrix: sp.csr_matrix  # [U, V]
    similarity: sp.csr_matrix  # [V, V]

    def __call__(self, users: np.ndarray) -> np.ndarray:
        return (self.matrix[users] @ self.similarity).toarray()
