"""The plain truth: one bag after another, one id after another."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.bag.op import Bags, full


def forward(table: Tensor, bags: Bags) -> Tensor:
    """[B, D] in float32 at least."""
    total = torch.zeros(len(bags.offsets) - 1, table.shape[1], dtype=full(table.dtype), device=table.device)
    for place, bag, factor, rows in _each(table, bags):
        total[bag] += factor * _weight(bags, place) * table[rows].to(total.dtype).sum(0)
    return total


def backward_table(gradient: Tensor, table: Tensor, bags: Bags) -> Tensor:
    """[V, D]"""
    total = torch.zeros_like(table, dtype=full(table.dtype))
    for place, bag, factor, rows in _each(table, bags):
        for row in rows:
            total[row] += factor * _weight(bags, place) * gradient[bag]
    return total


def backward_weights(gradient: Tensor, table: Tensor, bags: Bags) -> Tensor:
    """[L]"""
    total = torch.zeros(len(bags.values), dtype=full(table.dtype), device=table.device)
    for place, bag, factor, rows in _each(table, bags):
        total[place] = factor * (table[rows].to(total.dtype).sum(0) * gradient[bag]).sum()
    return total


def _each(table: Tensor, bags: Bags) -> list[tuple[int, int, float, list[int]]]:
    """(place, bag, 1 or one of as many, rows) of every id that isn't padding."""
    found, bounds, rows = [], bags.offsets.tolist(), bags.rows(len(table)).tolist()
    for bag, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        real = [place for place in range(start, stop) if bags.values[place] != 0]
        found += [(place, bag, 1 / len(real) if bags.mean else 1.0, rows[place]) for place in real]
    return found


def _weight(bags: Bags, place: int) -> Tensor | float:
    return 1.0 if bags.weights is None else bags.weights[place]
