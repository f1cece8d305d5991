"""Choices that depend on what is chosen, not on who chooses: the same for any number of workers."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.batch import Jagged


def hashed_keys(*parts: Tensor | int) -> Tensor:
    """Well-mixed non-negative int64 keys of integer tensors (splitmix64's finaliser; Steele et al. 2014)."""
    key = torch.zeros((), dtype=torch.int64)
    for part in parts:
        key = (key + part) * -7046029254386353131
        key = (key ^ (key >> 30)) * -4658895280553007687
        key = (key ^ (key >> 27)) * -7723592293110705685
        key = key ^ (key >> 31)
    return key & 0x7FFFFFFFFFFFFFFF


def sample_jagged(jagged: Jagged, row_ids: Tensor, limit: int, seed: int) -> Jagged:
    """At most `limit` values of each row, at random by (seed, row id, value); order within a row is kept."""
    if len(jagged) == 0 or int(jagged.lengths.max()) <= limit:
        return jagged
    row = jagged.row
    keys = hashed_keys(row_ids[row], jagged.values, seed)
    order = torch.argsort(keys, stable=True)
    order = order[torch.argsort(row[order], stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(order.shape[0], device=order.device) - jagged.offsets[row[order]]
    kept = place < limit
    lengths = torch.clamp(jagged.lengths, max=limit)
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    return Jagged(jagged.values[kept], offsets)
