"""What only the simulator knows of the ads: which of them break the policy, and how likely each is to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class PolicyAdsTruth(Truth):
    """Clean labels of the logged ads, and the exact posterior of the fresh ones given their words."""

    violating: Tensor  # [N] 0 or 1 of the logged ads
    style: Tensor  # [N] style of a violating ad, -1 of a clean one; style 0 is the one that the legacy rule knows
    chance: Tensor  # [M, S] probability that a fresh ad violates in this style; their sum is that it violates at all
