"""Near-identical listings are one product: found once for the catalogue, not once for every request."""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from recsys.index.vector_index import VectorIndex
from recsys.value import require, value


@value
class Canonicaliser:
    """Listings whose vectors are as like as `threshold` are joined, and so are those joined to the same (union-find).

    Chains are the danger: a, b and c are one product though a and c are unlike. Those less like their representative
    than `reach` leave it again (-1: nobody leaves). Neighbours come from the index that serves anyway, so a catalogue of
    any size needs as many searches as it has listings.
    """

    threshold: float = 0.95  # cosine
    neighbours: int = 32
    reach: float = 0.9

    def __post_init__(self) -> None:
        require(0 < self.threshold <= 1, f"threshold must lie in (0, 1], got {self.threshold}")
        require(self.neighbours >= 1, f"neighbours must be at least 1, got {self.neighbours}")

    def __call__(self, vectors: Tensor, index: VectorIndex) -> Tensor:
        """[N] int64 representative of each listing of vectors [N, D], the lowest number of its group."""
        found = index.search(vectors.numpy(), min(self.neighbours + 1, len(vectors)))
        row, place = np.nonzero((found.scores > self.threshold) & (found.ids >= 0))
        groups = representatives(row, found.ids[row, place], len(vectors))
        like = (vectors * vectors[groups]).sum(1)
        return torch.where(like >= self.reach, groups, torch.arange(len(vectors)))


def representatives(left: np.ndarray, right: np.ndarray, num: int) -> Tensor:
    """[num] the lowest number that is joined to each, directly or not, by pairs (left[i], right[i])."""
    edges = coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(num, num))
    _, label = connected_components(edges, directed=False)
    _, first = np.unique(label, return_index=True)
    return torch.as_tensor(first[label])
