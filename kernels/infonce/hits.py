"""Which columns a row may not have as rivals, found by sorting the ids once: looked up, not searched for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Hits(NamedTuple):
    """Row b's closed columns are `order[start[b] : start[b] + count[b]]`: those with its positive's id.

    A column is closed to a row exactly where `code[column] == start[row]`: int64 ids become places in the sorted order,
    which fit into int32, so nothing is hashed or rounded.
    """

    start: Tensor  # [B] int32; -1 where no column has the row's id
    count: Tensor  # [B] int32
    order: Tensor  # [N] int32, the columns by id
    code: Tensor  # [N] int32


def by_id(row_ids: Tensor, ids: Tensor) -> Hits:
    """The hits of rows that mean row_ids [B] among columns that are ids [N], both int64. Waits for no device."""
    ordered, order = ids.sort(stable=True)
    first = torch.searchsorted(ordered, row_ids)
    count = torch.searchsorted(ordered, row_ids, right=True) - first
    start = torch.where(count > 0, first, -1)
    return Hits(start.int(), count.int(), order.int(), torch.searchsorted(ordered, ids).int())


def by_place(target: Tensor, columns: int) -> Hits:
    """The hits where only a row's own positive target [B] is closed to it; -1 closes none."""
    place = torch.arange(columns, dtype=torch.int32, device=target.device)
    return Hits(target.int(), (target >= 0).int(), place, place)


def pairs(hits: Hits, rows: slice) -> tuple[Tensor, Tensor]:
    """[P] rows (counted from the slice's first) and [P] columns: every closed pair of the slice, row by row."""
    count = hits.count[rows].long()
    row = torch.repeat_interleave(count)
    first = hits.start[rows].long() - (count.cumsum(0) - count)
    place = torch.arange(len(row), device=row.device) + first[row]
    return row, hits.order[place].long()
