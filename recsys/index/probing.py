"""Which lists a query visits: those of the largest inner product or smallest distance, found by way of their parents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from recsys.index.spec import Metric
from recsys.index.tree import Tree

FLAT_LEAVES = 4096  # so many are all compared
LEAVES_A_PROBE, FEWEST_PARENTS = 64, 12  # leaves looked at for each that is chosen: fewer cost recall (docs/vectors.md)
BINS = 256
BATCH = 512


@dataclass(frozen=True, slots=True)
class Prober:
    """Chooses lists; where half of the parents would be visited, by a comparison with all leaves."""

    tree: Tree
    metric: Metric
    less: np.ndarray  # [L] float32: 0, or half the squared norm of a leaf where distances count
    parents_less: np.ndarray  # [P]
    flat: int = FLAT_LEAVES

    @classmethod
    def of(cls, tree: Tree, metric: Metric) -> Prober:
        tree = tree.searched
        return cls(tree, metric, _half_norms(tree.leaves, metric), _half_norms(tree.parents, metric))

    def probes(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Lists [B, count] int64, ascending, and what faiss takes as distances of their centres: q.c, or |q - c|^2."""
        count = min(count, len(self.tree))
        lists, scores = np.empty((len(queries), count), np.int64), np.empty((len(queries), count), np.float32)
        if len(self.tree) <= self.flat or 2 * self._visits(count) >= len(self.tree.parents):
            for start in range(0, len(queries), BATCH):
                part = slice(start, start + BATCH)
                held = queries[part] @ self.tree.leaves.T
                _take_largest(held, self.less, lists[part], scores[part])
        else:
            visits = self._visits(count)
            tree = self.tree
            _by_parents(
                queries, tree.parents, self.parents_less, tree.leaves, self.less, tree.starts, visits, lists, scores
            )
        return lists, self._distances(queries, lists, scores)

    def distances(self, queries: np.ndarray, lists: np.ndarray) -> np.ndarray:
        """[B, P] float32 of the centres of lists [B, P], as `probes` tells them."""
        scores = np.empty(lists.shape, np.float32)
        for query, own in enumerate(lists):
            scores[query] = self.tree.leaves[own] @ queries[query] - self.less[own]
        return self._distances(queries, lists, scores)

    def _distances(self, queries: np.ndarray, lists: np.ndarray, scores: np.ndarray) -> np.ndarray:
        scores = scores * self.tree.scale[lists]
        if self.metric != "l2":
            return scores
        return np.einsum("bd,bd->b", queries, queries)[:, None] - 2 * scores

    def _visits(self, count: int) -> int:
        return parents_visited(count, len(self.tree.parents), len(self.tree))


def parents_visited(probes: int, parents: int, lists: int) -> int:
    return min(parents, FEWEST_PARENTS + -(-probes * LEAVES_A_PROBE * parents // lists))


def _half_norms(centres: np.ndarray, metric: Metric) -> np.ndarray:
    if metric == "l2":
        return np.einsum("cd,cd->c", centres, centres) / np.float32(2)
    return np.zeros(len(centres), np.float32)


@njit(cache=True, nogil=True)
def _take_largest(held, less, lists, scores):  # type: ignore[no-untyped-def]
    row = np.empty(held.shape[1], np.float32)
    for query in range(held.shape[0]):
        for at in range(len(row)):
            row[at] = held[query, at] - less[at]
        largest(row, lists[query], scores[query])


@njit(cache=True, nogil=True)
def _by_parents(queries, parents, parents_less, leaves, less, starts, visits, lists, scores):  # type: ignore[no-untyped-def]  # noqa: PLR0913
    chosen, chosen_scores = np.empty(visits, np.int64), np.empty(visits, np.float32)
    held, names = np.empty(len(leaves), np.float32), np.empty(len(leaves), np.int64)
    for query in range(queries.shape[0]):
        largest(np.dot(parents, queries[query]) - parents_less, chosen, chosen_scores)
        filled = 0
        for parent in chosen:
            first, last = starts[parent], starts[parent + 1]
            part = np.dot(leaves[first:last], queries[query])
            for at in range(last - first):
                held[filled + at] = part[at] - less[first + at]
                names[filled + at] = first + at
            filled += last - first
        largest(held[:filled], lists[query], scores[query])
        for at in range(lists.shape[1]):
            lists[query, at] = names[lists[query, at]]


@njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def _range(row):  # type: ignore[no-untyped-def]
    low, high = row[0], row[0]
    for held in row:
        low, high = min(low, held), max(high, held)
    return low, high


@njit(cache=True, nogil=True)
def largest(row, places, values):  # type: ignore[no-untyped-def]
    """The len(places) largest of a row, in order of place: a histogram tells which are worth looking at."""
    count = len(places)
    low, high = _range(row)
    scale = np.float32(BINS - 1) / max(high - low, np.float32(1e-30))
    histogram = np.zeros(BINS, np.int32)
    for held in row:
        histogram[np.int32((held - low) * scale)] += 1
    bin_, above = BINS - 1, histogram[BINS - 1]
    while above < count:
        bin_ -= 1
        above += histogram[bin_]
    edge = np.empty(above, np.float32)
    where = np.empty(above, np.int64)
    filled = 0
    for at in range(len(row)):
        if np.int32((row[at] - low) * scale) >= bin_:
            edge[filled], where[filled] = row[at], at
            filled += 1
    bound = np.partition(edge, above - count)[above - count] if above > count else low
    equal = count - np.sum(edge > bound)
    filled = 0
    for at in range(above):
        if edge[at] > bound or (edge[at] == bound and equal > 0):
            equal -= edge[at] == bound
            places[filled], values[filled] = where[at], edge[at]
            filled += 1
