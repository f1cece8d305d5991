"""Listwise softmax over lists of one length, each click counted as often as it stands for."""

from __future__ import annotations

from torch import Tensor

from recsys.value import value


@value
class WeightedListwise:
    """Weighted cross entropy of each click against its list; not divided by the list's clicks.

    With weights 1 / P(look at the place) it is in expectation the loss on all relevant items, clicked or not
    (inverse propensity scoring: Joachims, Swaminathan and Schnabel, 2017).
    """

    def __call__(self, logits: Tensor, click: Tensor, weight: Tensor) -> Tensor:
        """[B] losses of logits, clicks and weights [B, K]; 0 for lists without a click."""
        return -(weight * click * logits.log_softmax(1)).sum(1)
