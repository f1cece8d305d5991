"""What a place does to a click, learnt beside what the item does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SPEED = 10.0  # looks differ by several logits between places, more than Adam moves a parameter in a short training


class PositionTower(nn.Module):
    """A logit for each place that sees nothing else: shallow, so that it can't learn the items (Zhao et al., 2019).

    `dropout` is the share of lists that are learnt from without their places, so that the item tower can't lean on
    them; which lists is drawn from the given generator.
    """

    def __init__(self, positions: int, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(positions))
        self.dropout, self.generator = dropout, generator

    def forward(self, position: Tensor) -> Tensor:
        """[B, K] logits of positions [B, K] from 1; all 0 for the lists that were dropped."""
        logits = SPEED * self.logit[position - 1]
        if not self.training or self.dropout == 0:
            return logits
        kept = torch.rand(len(position), 1, generator=self.generator) >= self.dropout
        return logits * kept
