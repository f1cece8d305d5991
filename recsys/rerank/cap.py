"""At most so many of a kind: a cap needs no trade of relevance against diversity, and knows only one kind of likeness."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.rerank.pool import Pool, by_score, first_of
from recsys.value import require, value


@value
class NearDuplicateCap:
    """Down the list, an item passes while fewer than `most` of those that passed are as like as `threshold`.

    What didn't pass fills the places that are left, so that no list is shorter for it.
    """

    threshold: float = 0.95  # cosine
    most: int = 1

    def __post_init__(self) -> None:
        require(self.most >= 1, f"most must be at least 1, got {self.most}")

    def __call__(self, pool: Pool, k: int) -> Tensor:
        order = by_score(pool)
        vectors = pool.vectors.gather(1, order[..., None].expand_as(pool.vectors))
        passed = torch.zeros_like(pool.valid)
        for place in range(order.shape[1]):
            like = (vectors @ vectors[:, place, :, None]).squeeze(2) > self.threshold
            passed[:, place] = (like & passed).sum(1) < self.most
        return first_of(order.gather(1, (~passed).byte().sort(dim=1, stable=True).indices), pool, k)

    def multiply_adds(self, pool: Pool, k: int) -> float:
        return float(k * pool.vectors[0].numel())  # only those that pass are compared, and the list ends with the k-th


@value
class CellQuota:
    """At most `most` of each cell of the index while other cells have something to offer."""

    most: int = 2

    def __post_init__(self) -> None:
        require(self.most >= 1, f"most must be at least 1, got {self.most}")

    def __call__(self, pool: Pool, k: int) -> Tensor:
        order = by_score(pool)
        cells = pool.cells.gather(1, order)
        earlier = torch.ones(order.shape[1], order.shape[1], dtype=torch.bool).tril(-1)
        rank = ((cells[:, :, None] == cells[:, None]) & earlier).sum(2)  # [B, N] how many of the cell stand before
        over = (rank // self.most).sort(dim=1, stable=True).indices  # the second helping comes after all first ones
        return first_of(order.gather(1, over), pool, k)

    def multiply_adds(self, pool: Pool, k: int) -> float:
        return 0.0
