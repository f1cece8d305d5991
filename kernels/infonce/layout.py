"""Rows and columns in the order of their hits: what is closed to a block of rows lies in a few tiles next to each other.

Columns are sorted by id and rows by the id of their positive, so closed pairs lie along a diagonal band. All other tiles
need no mask and no ids: masking costs the hot loops nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.infonce.problem import Problem


@dataclass(frozen=True, slots=True)
class Layout:
    """A problem's inputs in that order, and the places to which its rows and columns belong."""

    query: Tensor  # [B, D]
    vectors: Tensor  # [N, D]
    log_q: Tensor | None  # [N]
    first: Tensor  # [B] int32: the columns from `first` to before `last` are closed to a row; N and 0 for none
    last: Tensor  # [B] int32
    row: Tensor  # [B] int32: a row's place in the problem
    column: Tensor  # [N] int32

    @classmethod
    def of(cls, problem: Problem) -> Layout:
        hits, columns = problem.hits, len(problem.vectors)
        key = hits.start.masked_fill(hits.count == 0, columns)
        first, row = key.sort(stable=True)
        last = torch.where(first == columns, 0, first + hits.count[row])
        vectors, log_q = problem.vectors, problem.log_q
        if problem.named:  # else columns are in their order already
            vectors = vectors[hits.order]
            log_q = log_q if log_q is None else log_q[hits.order]
        return cls(
            problem.query[row].contiguous(), vectors.contiguous(), log_q, first, last.int(), row.int(), hits.order
        )

    def closed_rows(self) -> tuple[Tensor, Tensor]:
        """[N] int32: the first row that a column is closed to, and one past the last; B and 0 for none."""
        column = torch.arange(len(self.vectors), dtype=torch.int32, device=self.first.device)
        high = torch.searchsorted(self.first, column, right=True)  # rows from here on begin behind the column
        ends = self.last.cummax(0).values if len(self.last) else self.last
        low = torch.searchsorted(ends, column, right=True)  # rows before here end at or before the column
        none = low >= high
        return low.masked_fill(none, len(self.first)).int(), high.masked_fill(none, 0).int()
