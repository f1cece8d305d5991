"""Triplets of a labelled batch: an anchor, one of its kind, one of another."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

from kernels.pairwise import triplet
from kernels.pairwise.loss import lose
from recsys.random import torch_rng
from recsys.samplers.distance_weighted import DistanceWeighted
from recsys.value import require, value


class BatchLoss(Protocol):
    """A loss that finds its own pairs in a labelled batch: vectors [B, D], labels [B], step -> [B], unreduced."""

    def __call__(self, vectors: Tensor, labels: Tensor, step: int) -> Tensor: ...


@value
class Triplet:
    """max(0, d(a, p) - d(a, n) + margin), or softplus(d(a, p) - d(a, n)) where the margin is None.

    Positives and negatives as in kernels/pairwise: "hard" (Hermans et al. 2017), "semihard" (Schroff et al. 2015),
    "random", "easy"; and "distance" for negatives drawn evenly over distances (Wu et al. 2017), which needs unit
    vectors.
    """

    negative: Literal["hard", "semihard", "random", "distance"] = "semihard"
    positive: Literal["hard", "random", "easy"] = "random"
    metric: Literal["euclidean", "squared", "cosine"] = "squared"
    margin: float | None = 0.2
    draws: DistanceWeighted = DistanceWeighted()

    def __call__(self, vectors: Tensor, labels: Tensor, step: int) -> Tensor:
        """[B] losses, 0 where an anchor has no positive or no negative; random choices follow from the step."""
        negative = "random" if self.negative == "distance" else self.negative
        found = triplet(vectors, labels, metric=self.metric, positive=self.positive, negative=negative,
                        margin=self.margin, seed=step)  # fmt: skip
        if self.negative != "distance":
            return found.loss
        places = self.draws(vectors.detach(), labels, torch_rng(step, "distance weighted"))
        places = places.masked_fill(found.positive < 0, -1)
        return lose(vectors, found.positive, places, metric=self.metric, margin=self.margin).loss


@value
class EasyNegatives:
    """Triplets whose negative is any item of another class: once most lie beyond the margin, nothing is learnt."""

    positive: Literal["hard", "random", "easy"] = "random"
    margin: float = 0.2

    def __call__(self, vectors: Tensor, labels: Tensor, step: int) -> Tensor:
        found = triplet(vectors, labels, metric="squared", positive=self.positive, negative="random", margin=None,
                        seed=step)  # fmt: skip
        return lose(vectors, found.positive, found.negative, metric="squared", margin=self.margin).loss


@value
class Curriculum:
    """Semi-hard triplets until the space has a shape, then the hardest."""

    first: Triplet = Triplet(negative="semihard")
    then: Triplet = Triplet(negative="hard", positive="hard")
    switch: int = 100  # steps

    def __post_init__(self) -> None:
        require(self.switch >= 0, f"switch must be 0 or more steps, got {self.switch}")

    def __call__(self, vectors: Tensor, labels: Tensor, step: int) -> Tensor:
        return (self.first if step < self.switch else self.then)(vectors, labels, step)


def mean_of_active(losses: Tensor) -> Tensor:
    """Mean over the losses that aren't 0: what is solved doesn't water down what isn't (Hermans et al. 2017)."""
    active = (losses > 0).sum().clamp(min=1)
    return losses.sum() / active
