"""Lists of the same items by scores that can't be compared become one, by place alone."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.value import require, value


@value
class ReciprocalRankFusion:
    """An item's score is the sum over the lists of weight / (k + place) (Cormack et al. 2009); places begin at 1.

    Only the first `depth` places of a list count, and none whose score is -inf. Equal scores share their mean place, so
    that a list in which nothing was found says nothing.
    """

    k: float = 60.0
    depth: int = 1000

    def __post_init__(self) -> None:
        require(self.k >= 0, f"k must be 0 or more, got {self.k}")
        require(self.depth >= 1, f"depth must be at least 1, got {self.depth}")

    def __call__(self, scores: Tensor, *others: Tensor) -> Tensor:
        """[Q, I] of scores [Q, I] each, higher is better."""
        return torch.stack([self._of(held) for held in (scores, *others)]).sum(0)

    def _of(self, scores: Tensor) -> Tensor:
        place = mean_places(scores)
        return (1 / (self.k + place)).masked_fill((place > self.depth) | scores.isinf(), 0.0)


def mean_places(scores: Tensor) -> Tensor:
    """[Q, I] places from 1 on by falling score; equal scores have the mean of the places that they take."""
    ordered = scores.sort(dim=1).values
    below = torch.searchsorted(ordered, scores.contiguous())
    through = torch.searchsorted(ordered, scores.contiguous(), right=True)
    return scores.shape[1] - (below + through - 1).float() / 2
