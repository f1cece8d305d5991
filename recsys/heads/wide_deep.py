"""A linear model and a small network side by side: what single words say, and what they say together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.random import stream_seed
from recsys.value import require, value


class Committee(nn.Module):
    """[B, n] logits of n networks of one shape on the same features [B, F]."""

    def __init__(self, members: list[WideDeep]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([member(features) for member in self.members], 1)


class WideDeep(nn.Module):
    """[B, 1] logits (Cheng et al., 2016). The constant starts at `bias`: the log odds of the base rate."""

    def __init__(self, width: int, hidden: int, bias: float) -> None:
        super().__init__()
        self.wide = nn.Linear(width, 1)
        self.deep = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1, bias=False))
        with torch.no_grad():
            self.wide.weight.zero_()
            self.wide.bias.fill_(bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.wide(features) + self.deep(features)


@value
class WideDeepCommittee:
    """One or more wide and deep networks, each with initial weights of its own stream."""

    hidden: int = 32
    networks: int = 1

    def __post_init__(self) -> None:
        require(self.hidden > 0 and self.networks > 0, f"hidden and networks must be positive, got {self}")

    def build(self, width: int, bias: float, seed: int) -> Committee:
        members = []
        for number in range(self.networks):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(stream_seed(seed, "init", number))
                members.append(WideDeep(width, self.hidden, bias))
        return Committee(members)
