"""A query whose users mean several things has several vectors: a mean of meanings lies near one of them or near none."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from recsys.value import require, value


@value
class Interests:
    """Clusters of what a query's users clicked (as PinnerSage, Pal et al., 2020; MIND's routing is a soft one, Li 2019).

    Spherical k-means, started from clicks far from each other; the same clicks give the same interests.
    """

    num: int = 4
    rounds: int = 8

    def __post_init__(self) -> None:
        require(self.num >= 1, f"num must be at least 1, got {self.num}")

    def __call__(self, clicks: Tensor) -> tuple[Tensor, Tensor]:
        """From unit vectors [Q, C, D] to interests [Q, M, D] of norm 1 and their shares of the clicks [Q, M]."""
        require(clicks.shape[1] >= self.num, f"{clicks.shape[1]} clicks a query don't make {self.num} interests")
        centres = self._far_apart(clicks)
        for _ in range(self.rounds):
            member = one_hot((clicks @ centres.transpose(1, 2)).argmax(2), self.num).to(clicks.dtype)  # [Q, C, M]
            total = member.transpose(1, 2) @ clicks
            centres = normalize(torch.where(member.sum(1)[..., None] > 0, total, centres), dim=2)
        member = one_hot((clicks @ centres.transpose(1, 2)).argmax(2), self.num).to(clicks.dtype)
        return centres, member.mean(1)

    def _far_apart(self, clicks: Tensor) -> Tensor:
        """The click nearest the mean, then each time the click least like those taken."""
        rows = torch.arange(len(clicks))
        place = (clicks @ clicks.mean(1)[..., None]).squeeze(2).argmax(1)
        taken, nearest = [clicks[rows, place]], None
        for _ in range(self.num - 1):
            like = (clicks @ taken[-1][..., None]).squeeze(2)
            nearest = like if nearest is None else torch.maximum(nearest, like)
            taken.append(clicks[rows, nearest.argmin(1)])
        return torch.stack(taken, 1)
