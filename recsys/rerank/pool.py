"""What retrieval brought, from which a reranker chooses: it can't choose what isn't here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pool:
    """Candidates of each query, best first; empty places have score -inf."""

    ids: Tensor  # [B, N] int64
    scores: Tensor  # [B, N] float
    vectors: Tensor  # [B, N, D] norm 1
    cells: Tensor  # [B, N] int64, the index's cell of each
    source: Tensor  # [B, N] int64, which of the query's interests brought it; 0 where a query has one vector
    interests: Tensor  # [B, M, D] norm 1, the vectors that were searched with
    shares: Tensor  # [B, M] of the query's users; rows sum to 1

    @property
    def valid(self) -> Tensor:
        return self.scores > -torch.inf  # [B, N]


class Reranker(Protocol):
    """A frozen value."""

    def __call__(self, pool: Pool, k: int) -> Tensor:
        """[B, k] int64 places in the pool, best first, -1 where there is nothing left."""
        ...

    def multiply_adds(self, pool: Pool, k: int) -> float:
        """Of one request with such a pool."""
        ...


def first_of(order: Tensor, pool: Pool, k: int) -> Tensor:
    """[B, k] first valid places of an order [B, N] of all places, -1 past the last valid one."""
    usable = pool.valid.gather(1, order)
    rank = usable.cumsum(1) - 1
    wanted = usable & (rank < k)
    found = order.new_full((len(order), k), -1)
    rows = torch.arange(len(order))[:, None].expand_as(order)
    found[rows[wanted], rank[wanted]] = order[wanted]
    return found


def by_score(pool: Pool) -> Tensor:
    """[B, N] places by falling score, the lower place first among equals."""
    return pool.scores.sort(dim=1, descending=True, stable=True).indices
