"""Ids in blocks whose rows stay in the cache; index_add_ on a CPU goes through them in order, so the bits are always the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.bag.op import Bags, full
from kernels.choose import rows_at_once


def forward(table: Tensor, bags: Bags) -> Tensor:
    """[B, D], summed in float32 at least; torch's own kernel where it does so."""
    if table.dtype == full(table.dtype):
        return _torchs(table, bags)
    total = torch.zeros(len(bags.offsets) - 1, table.shape[1], dtype=full(table.dtype), device=table.device)
    for _, bag, rows, factor in _blocks(table, bags, weighted=True):
        total.index_add_(0, bag, _summed(table, rows).mul_(factor[:, None]))
    return total


def backward_table(gradient: Tensor, table: Tensor, bags: Bags) -> Tensor:
    """[V, D]"""
    total = torch.zeros_like(table, dtype=full(table.dtype))
    for _, bag, rows, factor in _blocks(table, bags, weighted=True):
        part = gradient[bag].to(total.dtype).mul_(factor[:, None])
        for column in rows.unbind(1):
            total.index_add_(0, column, part)
    total[0] = 0  # padding
    return total


def backward_weights(gradient: Tensor, table: Tensor, bags: Bags) -> Tensor:
    """[L]"""
    total = torch.empty(len(bags.values), dtype=full(table.dtype), device=table.device)
    for block, bag, rows, factor in _blocks(table, bags, weighted=False):
        total[block] = (_summed(table, rows) * gradient[bag]).sum(1) * factor
    return total.masked_fill_(bags.values == 0, 0)


def _torchs(table: Tensor, bags: Bags) -> Tensor:
    rows = bags.rows(len(table))
    num, factor = rows.shape[1], None
    if bags.mean or bags.weights is not None:
        factor = bags.shares(table.dtype) * (1 if bags.weights is None else bags.weights)
        factor = factor.to(table.dtype).repeat_interleave(num, output_size=rows.numel())
    padding = 0 if (bags.values == 0).any() else None  # to skip a row costs torch its fast path
    knobs: dict[str, Any] = {"mode": "sum", "include_last_offset": True, "padding_idx": padding}
    return F.embedding_bag(rows.flatten(), table, bags.offsets * num, per_sample_weights=factor, **knobs)


def _blocks(table: Tensor, bags: Bags, weighted: bool) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """(places, bag, rows, factor) of ids that are handled together."""
    bag, factor = bags.bag_of(), bags.shares(full(table.dtype))
    if weighted and bags.weights is not None:
        factor = factor * bags.weights
    step = rows_at_once(table.shape[1])
    for start in range(0, len(bags.values), step):
        block = slice(start, start + step)
        part = Bags(bags.values[block], bags.offsets, None, bags.num_hashes, bags.mean)
        yield block, bag[block], part.rows(len(table)), factor[block]


def _summed(table: Tensor, rows: Tensor) -> Tensor:
    """[l, D] the rows of each id added up, 0 for padding whatever row 0 holds."""
    return table[rows].to(full(table.dtype)).sum(1).masked_fill_(rows[:, :1] == 0, 0)
