"""Bags of ids become sums of table rows."""

from __future__ import annotations

from torch import Tensor

from kernels.bag.check import check
from kernels.bag.op import pool
from kernels.choose import choose

__all__ = ["bag"]


def bag(
    table: Tensor,
    values: Tensor,
    offsets: Tensor,
    *,
    weights: Tensor | None = None,
    num_hashes: int = 0,
    mode: str = "sum",
    impl: str = "auto",
) -> Tensor:
    """[B, D] sums of the rows that the ids of each bag name; id 0 is padding and adds nothing.

    table [V, D], values [L] int64 ids, offsets [B + 1] int64: bag b holds values[offsets[b]:offsets[b + 1]]; weights [L]
    multiply an id's rows. With num_hashes 0 an id is a row of the table; with k it is k rows in [1, V), by xxh3 of its eight
    bytes with seeds 0 to k - 1 (Svenstrup et al. 2017), added up. "mean" divides by the number of ids that aren't padding,
    whatever their weights and hashes; an empty bag is 0. Gradients for table and weights have the same bits every time.
    Raises ValueError for what doesn't fit together; an id outside the table is an IndexError on a CPU, NaN on a device.
    """
    check(table, values, offsets, weights, num_hashes, mode)
    chosen = choose("bag", impl, (table, values, offsets, weights))
    if chosen == "triton" and table.element_size() == 8:
        raise ValueError("bag: impl='triton' takes no float64; convert the table or take impl='chunked'")
    return pool(table, values, offsets, weights, num_hashes, mode == "mean", chosen)
