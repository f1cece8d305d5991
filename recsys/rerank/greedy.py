"""The next item is worth its relevance less its likeness to what was chosen before it."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from kernels.topk_mmr import topk_mmr
from recsys.rerank.pool import Pool, by_score, first_of
from recsys.value import require, value


@value
class TopK:
    """The order of retrieval."""

    def __call__(self, pool: Pool, k: int) -> Tensor:
        return first_of(by_score(pool), pool, k)

    def multiply_adds(self, pool: Pool, k: int) -> float:
        return 0.0


@value
class Diverse:
    """MMR (Carbonell and Goldstein, 1998) or greedy MAP of a determinantal point process (Chen et al., 2018).

    `lam` weighs likeness against relevance: 0 is the order of retrieval. What it minimises is likeness of vectors, so
    it knows neither what a query's users mean nor in which shares. See kernels/topk_mmr.
    """

    method: Literal["mmr", "dpp"]
    lam: float = 0.3

    def __post_init__(self) -> None:
        require(0 <= self.lam <= 1, f"lam must lie in [0, 1], got {self.lam}")

    def __call__(self, pool: Pool, k: int) -> Tensor:
        return topk_mmr(pool.vectors, pool.scores, k, lam=self.lam, mask=pool.valid, method=self.method)

    def multiply_adds(self, pool: Pool, k: int) -> float:
        _, num, dim = pool.vectors.shape
        return float(k * num * dim + (k * k * num if self.method == "dpp" else 0))
