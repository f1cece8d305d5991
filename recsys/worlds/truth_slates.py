"""What is so in a world of slates: probabilities of a look, a click and a cart."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class SlateTruth(Truth):
    """Of the requests to come, and of the logged lists."""

    relevance: Tensor  # [T, K] of the requests to come
    click: Tensor  # [T, K] probability of a click, once looked at
    cart: Tensor  # [T, K] probability of a cart, once clicked
    examination: Tensor  # [K] probability of a look at each place
    logged_relevance: Tensor  # [L, K]
