"""The nearest of many centroids is found by way of few parents: two matrix products instead of one that is 30 times larger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Self

import numpy as np
from numba import njit

from recsys.index.kmeans import kmeans, means, nearest
from recsys.index.priced import padded, width
from recsys.random import rng

SAMPLE = 61  # training vectors a leaf
PARENT_SAMPLE, PARENT_ROUNDS = 256, 8
MARGIN_SAMPLE = 50_000
ROUNDS = 4  # within parents
WHOLE_ROUNDS = 4  # over all leaves: splits of splits alone leave residuals 6 % larger
MEAN_VISITS, MOST_VISITS = 6.0, 32  # parents that a vector visits to find its leaf
BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Tree:
    """Leaves in groups around parents; the leaves of a parent stand together.

    Of unit vectors, leaves are directions (spherical k-means, Dhillon and Modha, 2001): a query ranks lists by direction,
    since a mean's length tells only how diffuse its list is. Residuals are of the means, which are nearer: leaf times scale.
    """

    parents: np.ndarray  # [P, D] float32
    leaves: np.ndarray  # [L, D] float32
    scale: np.ndarray  # [L] float32
    starts: np.ndarray  # [P + 1] int64: leaves starts[p] to starts[p + 1] are those of parent p
    margin: float  # a vector visits the parents whose half squared distance is within this of the nearest one's
    prior: np.ndarray | None = (
        None  # [L] float32 mean prior of a list, the coordinate after the D: no say in who is assigned
    )

    @classmethod
    def train(
        cls, sample: np.ndarray, leaves: int, seed: int, spherical: bool = False, rounds: int = WHOLE_ROUNDS
    ) -> Self:
        """A tree of so many leaves, from a sample [n, D] float32; n must be at least `leaves`."""
        draw = rng(seed, "tree", leaves)
        few = sample[np.sort(draw.choice(len(sample), min(len(sample), MARGIN_SAMPLE), replace=False))]
        tree = cls.grouped(_split(sample, leaves, draw), few, draw, spherical)
        for _ in range(rounds):
            tree = cls.grouped(means(sample, tree.assign(sample), tree.leaves), few, draw, spherical)
        return replace(tree, scale=_scale(sample, tree)) if spherical else tree

    @classmethod
    def grouped(cls, leaves: np.ndarray, few: np.ndarray, draw: np.random.Generator, spherical: bool) -> Self:
        """Leaves under their nearest parents; rows [n, D] tell how many parents must be visited."""
        if spherical:
            leaves = leaves / np.maximum(np.linalg.norm(leaves, axis=1, keepdims=True), np.float32(1e-12))
        count = parents_for(len(leaves))
        parents = kmeans(leaves, count, draw, PARENT_ROUNDS)
        own = nearest(leaves, parents)
        starts = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=count))]).astype(np.int64)
        ordered = np.ascontiguousarray(leaves[np.argsort(own, kind="stable")])
        return cls(parents, ordered, np.ones(len(leaves), np.float32), starts, _margin(few, parents))

    def with_prior(self, own: np.ndarray, prior: np.ndarray) -> Self:
        """The same lists with the mean of the priors [n] of the rows that belong to each [n]; the mean of all where none does."""
        sizes = np.bincount(own, minlength=len(self))
        means = np.where(sizes > 0, np.bincount(own, prior, len(self)) / np.maximum(sizes, 1), prior.mean())
        return replace(self, prior=means.astype(np.float32))

    @property
    def searched(self) -> Self:
        """The tree as queries see it: with a prior, leaves and parents of W dimensions; a leaf times its scale is its centre."""
        if self.prior is None:
            return self
        dim = width(self.leaves.shape[1])
        leaves, parents = padded(self.leaves, dim), padded(self.parents, dim)
        leaves[:, self.leaves.shape[1]] = self.prior / self.scale
        for parent, (first, last) in enumerate(pairwise(self.starts)):
            parents[parent, self.leaves.shape[1] :] = leaves[first:last, self.leaves.shape[1] :].sum(0) / max(
                1, last - first
            )
        return replace(self, leaves=leaves, parents=parents, prior=None)

    @property
    def centres(self) -> np.ndarray:
        """[L, D], with a prior [L, W]: what residuals are of."""
        held = self.searched
        return held.leaves * self.scale[:, None]

    def __len__(self) -> int:
        return len(self.leaves)

    def assign(self, rows: np.ndarray) -> np.ndarray:
        """[n] int32 the nearest leaf of each row [n, D] among those of the parents it visits, by its first D columns."""
        found, rows = np.empty(len(rows), np.int32), rows[:, : self.leaves.shape[1]]
        for start in range(0, len(rows), BLOCK):
            found[start : start + BLOCK] = self._assign(np.ascontiguousarray(rows[start : start + BLOCK]))
        return found

    def _assign(self, rows: np.ndarray) -> np.ndarray:
        half = _half_norms(self.leaves)
        visits = _visits(rows, self.parents, np.float32(self.margin))
        starts, members = _by_parent(visits, len(self.parents))
        best = np.full(len(rows), -np.inf, np.float32)
        found = np.zeros(len(rows), np.int32)
        for parent in range(len(self.parents)):
            member = members[starts[parent] : starts[parent + 1]]
            first, last = self.starts[parent], self.starts[parent + 1]
            if len(member) and last > first:
                scores = rows[member] @ self.leaves[first:last].T
                _improve(scores, half[first:last], first, member, best, found)
        return found

    def save(self, folder: Path) -> None:
        arrays = {"parents": self.parents, "leaves": self.leaves, "scale": self.scale, "starts": self.starts}
        arrays |= {} if self.prior is None else {"prior": self.prior}
        np.savez(folder / "tree.npz", margin=self.margin, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, folder: Path) -> Self:
        with np.load(folder / "tree.npz", allow_pickle=False) as held:
            names = ("parents", "leaves", "scale", "starts")
            parents, leaves, scale, starts = (held[name] for name in names)
            return cls(parents, leaves, scale, starts, float(held["margin"]), held.get("prior"))


def _split(sample: np.ndarray, leaves: int, draw: np.random.Generator) -> np.ndarray:
    """[leaves, D] centres within centres: where k-means over all of them starts from."""
    count = parents_for(leaves)
    chosen = draw.choice(len(sample), min(len(sample), PARENT_SAMPLE * count), replace=False)
    parents = kmeans(sample[np.sort(chosen)], count, draw, PARENT_ROUNDS)
    own = nearest(sample, parents)
    sizes = np.bincount(own, minlength=count)
    children = apportioned(sizes, leaves)
    order, ends = np.argsort(own, kind="stable"), np.cumsum(sizes)
    return np.concatenate(
        [
            kmeans(sample[order[end - size : end]], child, draw, ROUNDS)
            for end, size, child in zip(ends, sizes, children, strict=True)
            if child
        ]
    )


def _scale(sample: np.ndarray, tree: Tree) -> np.ndarray:
    """[L] the mean product of a leaf with its rows: times the leaf, it is their nearest point on its ray."""
    own = tree.assign(sample)
    products = np.einsum("nd,nd->n", sample, tree.leaves[own])
    sizes = np.bincount(own, minlength=len(tree))
    return np.where(sizes > 0, np.bincount(own, products, len(tree)) / np.maximum(sizes, 1), 1).astype(np.float32)


def parents_for(leaves: int) -> int:
    return max(1, min(leaves, round(2 * leaves**0.5)))


def apportioned(sizes: np.ndarray, total: int) -> np.ndarray:
    """Shares of `total` in proportion to sizes, at least 1 and at most the size of each that isn't empty; sums to total."""
    shares = sizes * (total / max(1, sizes.sum()))
    given = np.minimum(np.maximum(np.floor(shares), 1), sizes).astype(np.int64)
    while (short := total - int(given.sum())) != 0:
        room = given < sizes if short > 0 else given > 1
        order = np.argsort(np.where(room, (given - shares) * np.sign(short), np.inf), kind="stable")
        chosen = order[: min(abs(short), int(room.sum()))]
        given[chosen] += np.sign(short)
    return given


def _half_norms(centres: np.ndarray) -> np.ndarray:
    return np.einsum("cd,cd->c", centres, centres) / np.float32(2)


def _margin(rows: np.ndarray, parents: np.ndarray) -> float:
    """The gap within which a row has MEAN_VISITS parents on average."""
    if len(parents) <= MEAN_VISITS:
        return float("inf")
    scores = rows @ parents.T - _half_norms(parents)
    most = min(MOST_VISITS, len(parents))
    best = -np.sort(-np.partition(scores, len(parents) - most, axis=1)[:, -most:], axis=1)
    gaps = np.sort((best[:, :1] - best[:, 1:]).ravel())
    return float(gaps[min(len(gaps) - 1, int((MEAN_VISITS - 1) * len(scores)))])


def _visits(rows: np.ndarray, parents: np.ndarray, margin: np.float32) -> np.ndarray:
    """[n, MOST_VISITS] int32 parents that rows visit, -1 where there are no more."""
    visits = np.empty((len(rows), min(MOST_VISITS, len(parents))), np.int32)
    less, transposed = _half_norms(parents), np.ascontiguousarray(parents.T)
    for start in range(0, len(rows), 4096):
        _within(rows[start : start + 4096] @ transposed, less, margin, visits[start : start + 4096])
    return visits


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def _within(scores, less, margin, visits):  # type: ignore[no-untyped-def]
    """The best first, then others within the margin, in order of number; where too many, the first of them."""
    count, most = scores.shape[1], visits.shape[1]
    for row in range(scores.shape[0]):
        held = scores[row]
        largest = np.float32(-np.inf)
        for at in range(count):
            held[at] -= less[at]
            largest = max(largest, held[at])
        bound, filled = largest - margin, 1
        visits[row] = -1
        for begin in range(0, count, 16):
            end = min(begin + 16, count)
            top = held[begin]
            for at in range(begin, end):
                top = max(top, held[at])
            if top < bound:
                continue
            for at in range(begin, end):
                if held[at] == largest and visits[row, 0] < 0:
                    visits[row, 0] = at
                elif held[at] >= bound and filled < most:
                    visits[row, filled] = at
                    filled += 1


@njit(cache=True, nogil=True)
def _by_parent(visits, parents):  # type: ignore[no-untyped-def]
    """Rows that visit each parent: members[starts[p] : starts[p + 1]], ascending."""
    starts = np.zeros(parents + 2, np.int64)
    for row in range(visits.shape[0]):
        for parent in visits[row]:
            if parent >= 0:
                starts[parent + 2] += 1
    for parent in range(parents):
        starts[parent + 2] += starts[parent + 1]
    members = np.empty(starts[parents + 1], np.int64)
    for row in range(visits.shape[0]):
        for parent in visits[row]:
            if parent >= 0:
                members[starts[parent + 1]] = row
                starts[parent + 1] += 1
    return starts[:-1], members


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def _improve(scores, less, first, member, best, found):  # type: ignore[no-untyped-def]
    count = scores.shape[1]
    for row in range(scores.shape[0]):
        held = scores[row]
        largest = np.float32(-np.inf)
        for at in range(count):
            held[at] -= less[at]
            largest = max(largest, held[at])
        if largest > best[member[row]]:
            best[member[row]] = largest
            for at in range(count):
                if held[at] == largest:
                    found[member[row]] = first + at
                    break
