"""A difference shared out among the factors that make it."""

from __future__ import annotations

from math import factorial

import torch
from torch import Tensor


def shapley(values: Tensor) -> Tensor:
    """[..., n] Shapley values (1953) of n factors, from the value of every subset.

    values [..., 2^n]: entry s is the value with the factors switched whose bits are set in s, factor 0 being the lowest
    bit. They add up to values[..., -1] - values[..., 0], interactions shared equally; one-at-a-time differences don't.
    """
    num = (values.shape[-1] - 1).bit_length()
    subsets = torch.arange(2**num)
    size = ((subsets[:, None] >> torch.arange(num)) & 1).sum(1)
    weight = torch.tensor(
        [factorial(s) * factorial(num - s - 1) / factorial(num) for s in range(num)], dtype=values.dtype
    )
    shares = []
    for factor in range(num):
        without = subsets[(subsets >> factor) & 1 == 0]
        gain = values[..., without + 2**factor] - values[..., without]
        shares.append(gain @ weight[size[without]])
    return torch.stack(shares, -1)
