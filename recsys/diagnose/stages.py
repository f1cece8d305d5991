"""A retriever went live in front of a ranker: what the index holds, what the ranker is fed, what each exchange brings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.diagnose.diagnosis import Part
from recsys.value import require

COARSE_INDEX = "coarse_index"  # a cause: the index visits too few of its lists


@dataclass(frozen=True)
class IndexAudit(Part):
    """The vectors that are searched against the vectors that the present checkpoint makes of the same items."""

    stored: Tensor  # [N, D] in the index
    fresh: Tensor | None = None  # [N, D] the same items, encoded now
    found: Tensor | None = None  # [Q, K] ids that the index returned for sample queries, -1 for none
    exact: Tensor | None = None  # [Q, K] ids of the exactly nearest stored vectors

    def __post_init__(self) -> None:
        fits = self.fresh is None or self.fresh.shape == self.stored.shape
        require(fits, f"stored and fresh vectors must be of the same items, got {list(self.stored.shape)} and others")

    def cosines(self) -> Tensor | None:
        """[N] cosine of every stored vector with the fresh one: 1 up to rounding where the index is up to date."""
        return None if self.fresh is None else F.cosine_similarity(self.stored.double(), self.fresh.double(), dim=1)

    def fidelity(self) -> float | None:
        """Share of the exactly nearest that the index found."""
        if self.found is None or self.exact is None:
            return None
        hit = (self.exact[:, :, None] == self.found[:, None]).any(2)
        return float(hit[self.exact >= 0].double().mean())


@dataclass(frozen=True)
class ScoreAudit(Part):
    """The retrieval score as the ranker saw it in training, and as it is fed now."""

    train: Tensor  # [n]
    live: Tensor  # [m]


@dataclass(frozen=True)
class StageSwap(Part):
    """A logged score (such as discounted clicks) of each query under exchanges of one stage, the queries being the same."""

    before: Tensor  # [Q] old retriever, old ranker
    now: Tensor  # [Q] new retriever, old ranker, as it is live
    mapped: Tensor | None = None  # [Q] as now, with the score mapped onto its training distribution
    retrained: Tensor | None = None  # [Q] as now, with the ranker retrained on the new candidates
    reindexed: Tensor | None = None  # [Q] as now, over an exact index of fresh vectors

    def gain(self, other: Tensor | None, over: Tensor) -> float:
        """Mean paired difference in standard errors; NaN without the other."""
        if other is None:
            return float("nan")
        difference = (other - over).double()
        error = difference.std() / len(difference) ** 0.5
        return float(difference.mean() / error.clamp(min=1e-12)) if bool(difference.any()) else 0.0


def stale_share(cosines: Tensor, tolerance: float) -> float:
    """Share of the items whose stored vector isn't the fresh one."""
    return float((cosines < 1 - tolerance).double().mean())


def best_of(swap: StageSwap) -> Tensor:
    """[Q] the outcome of the best exchange, by its mean."""
    held = [each for each in (swap.now, swap.mapped, swap.retrained, swap.reindexed) if each is not None]
    return held[int(torch.stack([each.double().mean() for each in held]).argmax())]
