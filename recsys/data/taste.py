"""What people of like taste take: a linear autoencoder of low rank, as of a moment."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from recsys.data.spec import DAY
from recsys.data.timeline import Timeline
from recsys.random import rng

PERIOD = 28 * DAY  # a moment is asked of the factors of the last period that began before it
WARM_UP = 42 * DAY  # of events before the first factors
RANK, OVERSAMPLED, SWEEPS = 128, 32, 8
GRAM_USERS = 4096  # up to so many, products of all pairs are cheaper than sweeps over the weights
RIDGE = 300.0
MOST_USERS = 50_000  # that factors are made from
KEPT = 32  # periods whose factors stay in memory


@dataclass(frozen=True, slots=True)
class Factors:
    """EASE (Steck 2019) with its Gram matrix cut to the leading singular vectors of the weights (Cremonesi et al. 2010).

    For weights X = U diag(s) W' of rank r, P = (X'X + ridge I)^-1 has the diagonal (1 - sum_k w_k^2 g_k) / ridge with
    g = s^2 / (s^2 + ridge), and a user of weights x gives an item the score (x W g) w' / (1 - sum_k w_k^2 g_k).
    """

    basis: np.ndarray  # [V, r] float32, W
    gain: np.ndarray  # [r] float32, g
    spare: np.ndarray  # [V] float32, the part of an item that the factors don't explain, ridge times the diagonal of P

    @classmethod
    def fit(cls, weights: sp.csr_matrix) -> Factors:
        """Of weights [U, V], by subspace iteration from a fixed start (Halko et al. 2011)."""
        users = len(np.asarray(weights.indptr)) - 1
        spanned = rng(0, "taste").standard_normal((users, min(users, RANK + OVERSAMPLED)))
        across = sp.csr_matrix(weights.T)
        products = sp.csr_matrix(weights @ across).toarray() if users <= GRAM_USERS else None
        for _ in range(SWEEPS):
            grown = weights @ (across @ spanned) if products is None else products @ spanned
            spanned = scipy.linalg.qr(grown, mode="economic")[0]
        images = across @ spanned  # [V, r + oversampled]
        squares, turn = scipy.linalg.eigh(images.T @ images)
        squares, turn = squares[::-1][:RANK], turn[:, ::-1][:, :RANK]
        kept = squares > 1e-9 * squares[0]
        squares, basis = squares[kept], images @ turn[:, kept] / np.sqrt(squares[kept])
        gain = squares / (squares + RIDGE)
        spare = 1 - (basis**2) @ gain
        return cls(basis.astype(np.float32), gain.astype(np.float32), spare.astype(np.float32))

    def scores(self, tastes: np.ndarray, row: np.ndarray, item: np.ndarray) -> np.ndarray:
        """[R] of weights times basis [B, r], rows' users [R] among them, and items [R]."""
        return np.einsum("rk,rk->r", (tastes * self.gain)[row], self.basis[item]) / self.spare[item]


class Taste:
    """Factors of every period, made when they are first asked for; those of a period know only what was before it."""

    def __init__(self, users: Timeline, user_items: np.ndarray, num_items: int) -> None:
        self.users, self.user_items = users, user_items
        self.taken = min(num_items, int(user_items.max(initial=-1)) + 1)  # nobody has a taste for what is behind it
        self._factors: OrderedDict[int, Factors | None] = OrderedDict()
        self._start = int(users.times.min()) + WARM_UP if len(users.times) else np.inf

    def scores(self, user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
        """[R] float32 for rows of (user, item, time): 0 for users without events, and before the first factors."""
        found = np.zeros(len(user), np.float32)
        for period in np.unique(time // PERIOD):
            rows = np.flatnonzero((time // PERIOD == period) & (item < self.taken))
            factors = self.at(int(period))
            if factors is not None:
                found[rows] = self._of(factors, user[rows], item[rows], time[rows])
        return found

    def at(self, period: int) -> Factors | None:
        """The factors of a period, from events before it began; None while there are too few."""
        if period not in self._factors:
            self._factors[period] = self._fitted(period * PERIOD)
            if len(self._factors) > KEPT:
                self._factors.popitem(last=False)
        return self._factors[period]

    def _of(self, factors: Factors, user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
        asked, row = np.unique(np.stack([user, time]), axis=1, return_inverse=True)
        weights = self._weights(*self.users.slice_before(asked[0], asked[1]))
        return factors.scores(weights @ factors.basis, row, item)

    def _fitted(self, start: int) -> Factors | None:
        if start < self._start:
            return None
        begin, stop = self.users.slice_before(self.users.keys, np.full(len(self.users.keys), start))
        active = np.flatnonzero(stop > begin)
        active = active[:: -(-len(active) // MOST_USERS)]
        return Factors.fit(sp.csr_matrix(self._weights(begin[active], stop[active]), dtype=np.float64))

    def _weights(self, begin: np.ndarray, stop: np.ndarray) -> sp.csr_matrix:
        """log(1 + events) by item of slices of the timeline, [b, V]."""
        lengths = stop - begin
        offsets = np.append(0, np.cumsum(lengths))
        places = np.repeat(begin - offsets[:-1], lengths) + np.arange(offsets[-1])
        shape = (len(begin), self.taken)
        counts = sp.csr_matrix((np.ones(len(places), np.float32), self.user_items[places], offsets), shape=shape)
        counts.sum_duplicates()
        counts.data = np.log1p(counts.data)
        return counts
