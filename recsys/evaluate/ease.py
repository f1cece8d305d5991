"""EASE, solved over the smaller of users and items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from recsys.evaluate.events import Events, Weight, entry_rows, sides
from recsys.evaluate.ranks import Scorer
from recsys.value import require, value

BLOCK = 2048  # items at a time


@value
class Ease:
    """A linear autoencoder that may not look at the item it predicts is hard to beat (Steck, 2019).

    The paper inverts X'X + ridge I over items: P, then B = I - P / diag(P), whose diagonal is zero. With
    K = XX' + ridge I over users, P = (I - X' K^-1 X) / ridge and X P = K^-1 X, so the scores
    X B = X - K^-1 X / diag(P) need users x users memory: seconds for a few thousand users of any number of items.
    The smaller of the two systems is solved. When both are larger than max_side, it is the paper's over the max_side
    items with the most users, and all other items score 0.
    """

    weight: Weight = "log1p"
    ridge: float = 300.0
    max_side: int = 8_000

    def __post_init__(self) -> None:
        require(self.ridge > 0, f"ridge must be positive, got {self.ridge}")
        require(self.max_side >= 1, f"max_side must be at least 1, got {self.max_side}")

    def fit(self, train: Events) -> Scorer:
        matrix = train.matrix(self.weight)
        users_of = matrix.getnnz(axis=0)
        active = np.flatnonzero(np.diff(matrix.indptr))
        items = np.flatnonzero(users_of)
        if len(active) <= min(len(items), self.max_side):
            return over_users(matrix, active, self.ridge)
        most = np.argsort(-users_of[items], kind="stable")[: self.max_side]
        return over_items(matrix, np.sort(items[most]), self.ridge)


def over_users(matrix: sp.csr_matrix, active: np.ndarray, ridge: float) -> Scorer:
    """EASE of the weights [U, V] from the users x users system of the active users."""
    known = sp.csr_matrix(matrix[active])
    inverse = _inverse(known @ known.T, ridge)
    row = np.full(sides(matrix)[0], -1)
    row[active] = np.arange(len(active))
    by_item = sp.csr_matrix(known.T)
    return _OverUsers(known, by_item, row, inverse.astype(np.float32), _diagonal(by_item, inverse, ridge))


def over_items(matrix: sp.csr_matrix, items: np.ndarray, ridge: float) -> Scorer:
    """EASE of the weights [U, V] from the items x items system of the given items, as in the paper."""
    columns = sp.csr_matrix(matrix[:, items])
    inverse = _inverse(columns.T @ columns, ridge)
    filters = inverse / -np.diag(inverse)
    np.fill_diagonal(filters, 0)
    return _OverItems(columns, items, filters.astype(np.float32), sides(matrix)[1])


@dataclass(frozen=True, slots=True)
class _OverUsers:
    known: sp.csr_matrix  # [A, V] weights of the users with events
    by_item: sp.csr_matrix  # [V, A], the same by item
    row: np.ndarray  # [U] place of each user in known, -1 for a user without events
    inverse: np.ndarray  # [A, A] float32, K^-1
    diagonal: np.ndarray  # [V] float32, diag(P)

    def __call__(self, users: np.ndarray) -> np.ndarray:
        """[b, V] float32; all zero for a user without events."""
        place = self.row[users]
        # sparse times dense wants the sparse part on the left: [V, A] @ [A, b]
        spread = self.by_item @ np.ascontiguousarray(self.inverse[:, place])
        spread /= -self.diagonal[:, None]
        scores = np.ascontiguousarray(spread.T)
        held = sp.csr_matrix(self.known[place])
        scores[entry_rows(held), held.indices] += held.data
        scores[place < 0] = 0
        return scores


@dataclass(frozen=True, slots=True)
class _OverItems:
    columns: sp.csr_matrix  # [U, n] weights of the items in the system
    items: np.ndarray  # [n] their indices
    filters: np.ndarray  # [n, n] float32, B
    num_items: int

    def __call__(self, users: np.ndarray) -> np.ndarray:
        """[b, V] float32; all zero for a user without events."""
        scores = np.zeros((len(users), self.num_items), dtype=np.float32)
        scores[:, self.items] = self.columns[users] @ self.filters
        return scores


def _inverse(products: sp.csr_matrix, ridge: float) -> np.ndarray:
    """(products + ridge I)^-1 in float64."""
    system = products.toarray().astype(np.float64)
    system[np.diag_indices_from(system)] += ridge
    return scipy.linalg.inv(system, assume_a="pos", overwrite_a=True)


def _diagonal(by_item: sp.csr_matrix, inverse: np.ndarray, ridge: float) -> np.ndarray:
    """diag(P)_j = (1 - x_j' K^-1 x_j) / ridge, a block of items at a time; [V] float32.

    In float64: for a popular item and a small ridge the difference is what is left of two near-equal numbers.
    """
    num_items = sides(by_item)[0]
    explained = np.zeros(num_items)
    for start in range(0, num_items, BLOCK):
        items = sp.csr_matrix(by_item[start : start + BLOCK], dtype=np.float64)
        spread = items @ inverse  # [b, A]
        rows = entry_rows(items)
        terms = items.data * spread[rows, items.indices]
        explained[start : start + BLOCK] = np.bincount(rows, terms, minlength=sides(items)[0])
    return ((1 - explained) / ridge).astype(np.float32)
