"""Propensities as weights of clicks, and what they cost in variance."""

from __future__ import annotations

from torch import Tensor

from recsys.value import require


def inverse(propensity: Tensor, floor: float) -> Tensor:
    """Weights 1 / propensity, propensities below the floor counted as the floor: some bias for less variance."""
    require(0 < floor <= 1, f"the floor must lie in (0, 1], got {floor}")
    return 1 / propensity.clamp(min=floor)


def effective_share(weights: Tensor) -> float:
    """(sum w)^2 / (n sum w^2): the share of the events that equally weighted ones would need for the same variance.

    Kish, 1965. 1 for equal weights; NaN without weights.
    """
    held = weights.double()
    return float(held.sum().square() / (len(held) * held.square().sum())) if len(held) else float("nan")
