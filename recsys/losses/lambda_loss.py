"""Pairs that weigh as much as swapping them would change the metric."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.value import require, value


@value
class LambdaLoss:
    """Logistic loss of every ordered pair times |change of the metric| if the two swapped places (Burges, 2010).

    "ndcg": gains as given (2^grade - 1 for graded labels), places beyond the cutoff worth nothing, divided by the
    ideal. "map": average precision of gains above 0, over the whole list, divided by the number of relevant ones
    (Donmez, Svore and Burges, 2009). The places are those of the current scores and carry no gradient. Lists without
    a gain have loss 0.
    """

    metric: Literal["ndcg", "map"] = "ndcg"
    cutoff: int | None = None  # of ndcg; None: the whole list

    def __post_init__(self) -> None:
        require(self.cutoff is None or self.metric == "ndcg", "the cutoff is of ndcg; map is of the whole list")

    def __call__(self, scores: Tensor, gains: Tensor) -> Tensor:
        """[B] losses of scores and gains >= 0, both [B, K]."""
        change = ndcg_changes(scores, gains, self.cutoff) if self.metric == "ndcg" else map_changes(scores, gains)
        worth = gains if self.metric == "ndcg" else (gains > 0).to(gains.dtype)
        ahead = worth[:, :, None] > worth[:, None, :]
        loss = F.softplus(-(scores[:, :, None] - scores[:, None, :]))
        return (loss * change * ahead).sum((1, 2))


def ndcg_changes(scores: Tensor, gains: Tensor, cutoff: int | None) -> Tensor:
    """[B, K, K] by how much NDCG changes when i and j swap places."""
    width = gains.shape[1]
    place = torch.arange(1, width + 1, device=gains.device)
    worth = (1 + place).to(gains.dtype).log2().reciprocal() * (place <= (cutoff or width))
    discount = worth[_ranks(scores) - 1]
    ideal = gains.sort(1, descending=True).values @ worth
    change = (gains[:, :, None] - gains[:, None, :]) * (discount[:, :, None] - discount[:, None, :])
    return change.abs() / torch.where(ideal > 0, ideal, torch.ones_like(ideal))[:, None, None]


def map_changes(scores: Tensor, gains: Tensor) -> Tensor:
    """[B, K, K] by how much average precision changes when i and j swap places; 0 for two of a kind."""
    rank, relevant = _ranks(scores), (gains > 0).to(gains.dtype)
    by_rank = relevant.gather(1, scores.argsort(dim=1, descending=True, stable=True))
    place = torch.arange(1, gains.shape[1] + 1, device=gains.device, dtype=gains.dtype)
    found = by_rank.cumsum(1)  # relevant at this place or above
    harmonic = (by_rank / place).cumsum(1)
    upper = torch.minimum(rank[:, :, None], rank[:, None, :])
    lower = torch.maximum(rank[:, :, None], rank[:, None, :])

    def at(held: Tensor, ranks: Tensor) -> Tensor:
        return held.gather(1, (ranks - 1).flatten(1)).view(ranks.shape)

    # the one that is relevant stands at `upper`, now or after the swap; between them each hit counts one more or less
    hits = at(found, upper) + (1 - at(by_rank, upper))
    between = at(harmonic, lower) - at(by_rank, lower) / lower - at(harmonic, upper)
    change = hits / upper - at(found, lower) / lower + between
    mixed = relevant[:, :, None] != relevant[:, None, :]
    return change.abs() * mixed / relevant.sum(1).clamp(min=1)[:, None, None]


def _ranks(scores: Tensor) -> Tensor:
    """[B, K] places from 1, by falling scores."""
    return 1 + scores.detach().argsort(dim=1, descending=True, stable=True).argsort(dim=1)
