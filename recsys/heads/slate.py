"""A small scorer of the items of a list."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN, GROUP_DIM, SPREAD = 32, 4, 0.1


class SlateScorer(nn.Module):
    """One hidden layer over an item's features, its group's embedding (seller, brand) and the place as one-hot.

    Without a position every item is scored as if at the top: who never shows it positions has a scorer of items, who
    trains with them has position as a feature, held at a constant when serving.
    """

    def __init__(self, features: int, groups: int, positions: int, generator: torch.Generator) -> None:
        super().__init__()
        self.positions = positions
        self.group = nn.Embedding(groups, GROUP_DIM)
        self.hidden = nn.Linear(features + GROUP_DIM + positions, HIDDEN)
        self.out = nn.Linear(HIDDEN, 1)
        with torch.no_grad():
            for layer in (self.hidden, self.out):
                bound = layer.in_features**-0.5
                for held in (layer.weight, layer.bias):
                    held.copy_((torch.rand(held.shape, generator=generator) * 2 - 1) * bound)
            self.group.weight.copy_(SPREAD * torch.randn(self.group.weight.shape, generator=generator))

    def forward(self, features: Tensor, group: Tensor, position: Tensor | None = None) -> Tensor:
        """[B, K] logits of features [B, K, F], groups [B, K] and positions [B, K] from 1."""
        place = torch.ones_like(group) if position is None else position
        seen = torch.cat([features, self.group(group), F.one_hot(place - 1, self.positions).to(features.dtype)], -1)
        return self.out(self.hidden(seen).relu()).squeeze(-1)
