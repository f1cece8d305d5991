"""EASE, solved over users: the item x item matrix of the paper is never formed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from recsys.evaluate.events import Events, Weight
from recsys.evaluate.ranks import Scorer
from recsys.value import require, value

BLOCK = 2048  # items at a time


@value
class Ease:
    """A linear autoencoder that may not look at the item it predicts is hard to beat (Steck, 2019).

    The paper inverts X'X + ridge I over items: P, then B = I - P / diag(P), whose diagonal is zero. With
    K = XX' + ridge I over users, P = (I - X' K^-1 X) / ridge and X P = K^-1 X, so the scores
    X B = X - K^-1 X / diag(P) need users x users memory: made for many items and a few thousand users.
    Raises ValueError above max_users, where the paper's own form is the smaller one.
    """

    weight: Weight = "log1p"
    ridge: float = 300.0
    max_users: int = 20_000

    def __post_init__(self) -> None:
        require(self.ridge > 0, f"ridge must be positive, got {self.ridge}")

    def fit(self, train: Events) -> Scorer:
        matrix = train.matrix(self.weight)
        active = np.flatnonzero(np.diff(matrix.indptr))
        require(
            len(active) <= self.max_users,
            f"EASE over users needs {len(active)} x {len(active)} numbers; max_users is {self.max_users}: "
            "fit it on fewer users",
        )
        known = sp.csr_matrix(matrix[active])
        kernel = (known @ known.T).toarray().astype(np.float64)
        kernel[np.diag_indices_from(kernel)] += self.ridge
        inverse = scipy.linalg.inv(kernel, assume_a="pos", overwrite_a=True)
        row = np.full(matrix.shape[0], -1)
        row[active] = np.arange(len(active))
        by_item = sp.csr_matrix(known.T)
        return _EaseScorer(known, by_item, row, inverse.astype(np.float32), _diagonal(by_item, inverse, self.ridge))


@dataclass(frozen=True, slots=True)
class _EaseScorer:
    known: sp.csr_matrix  # [A, V] weights of the users with events
    by_item: sp.csr_matrix  # [V, A], the same by item
    row: np.ndarray  # [U] place of each user in known, -1 for a user without events
    inverse: np.ndarray  # [A, A] float32, K^-1
    diagonal: np.ndarray  # [V] float32, diag(P)

    def __call__(self, users: np.ndarray) -> np.ndarray:
        """[b, V] float32; all zero for a user without events."""
        place = self.row[users]
        # sparse times dense wants the dense part as rows of users: [V, A] @ [A, b]
        spread = self.by_item @ np.ascontiguousarray(self.inverse[:, place])
        spread /= -self.diagonal[:, None]
        scores = np.ascontiguousarray(spread.T)
        held = self.known[place]
        rows = np.repeat(np.arange(len(users)), np.diff(held.indptr))
        scores[rows, held.indices] += held.data
        scores[place < 0] = 0
        return scores


def _diagonal(by_item: sp.csr_matrix, inverse: np.ndarray, ridge: float) -> np.ndarray:
    """diag(P)_j = (1 - x_j' K^-1 x_j) / ridge, a block of items at a time; [V] float32.

    In float64: for a popular item and a small ridge the difference is what is left of two near-equal numbers.
    """
    explained = np.zeros(by_item.shape[0])
    for start in range(0, by_item.shape[0], BLOCK):
        items = sp.csr_matrix(by_item[start : start + BLOCK], dtype=np.float64)
        spread = items @ inverse  # [b, A]
        rows = np.repeat(np.arange(items.shape[0]), np.diff(items.indptr))
        explained[start : start + BLOCK] = np.bincount(
            rows, items.data * spread[rows, items.indices], minlength=items.shape[0]
        )
    return ((1 - explained) / ridge).astype(np.float32)
