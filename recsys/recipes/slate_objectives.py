"""What an arm learns from clicks: losses of a model with a tower for items and one for places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.heads.position import PositionTower
from recsys.heads.slate import SlateScorer
from recsys.losses.dual_learning import DualLearning
from recsys.losses.position_based import PositionBased
from recsys.losses.weighted_listwise import WeightedListwise

Objective = Literal["listwise", "pointwise", "position_based", "additive", "dual"]
Loss = Callable[..., Tensor]


class SlateModel(nn.Module):
    """An item tower, a place tower, and whether the item tower sees places."""

    def __init__(self, scorer: SlateScorer, tower: PositionTower, sees_position: bool) -> None:
        super().__init__()
        self.scorer, self.tower, self.sees_position = scorer, tower, sees_position

    def forward(self, features: Tensor, group: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """[B, K] logits of the items and of their places."""
        return self.scorer(features, group, position if self.sees_position else None), self.tower(position)

    @torch.no_grad()
    def score(self, features: Tensor, group: Tensor) -> Tensor:
        """[B, K] what is served by: every item as if at the top."""
        return self.scorer(features, group)


def objective(kind: Objective, weight: Tensor) -> Loss:
    """loss(model, features, group, position, click) -> scalar; weight [K] of a click at each place.

    Only the listwise objective uses the weights. "additive" adds the place's logit to the item's within the softmax.
    """

    def loss(model: Any, features: Tensor, group: Tensor, position: Tensor, click: Tensor) -> Tensor:
        item, place = model(features, group, position)
        if kind == "pointwise":
            return F.binary_cross_entropy_with_logits(item, click)
        if kind == "position_based":
            return PositionBased()(item, place, click).mean()
        if kind == "dual":
            return DualLearning()(item, place, click, position).mean()
        return WeightedListwise()(item + place if kind == "additive" else item, click, weight[position - 1]).mean()

    return loss
