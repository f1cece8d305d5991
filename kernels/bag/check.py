"""What bag refuses, with the value and the remedy, before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check(table: Tensor, values: Tensor, offsets: Tensor, weights: Tensor | None, num_hashes: int, mode: str) -> None:
    """Raise ValueError for shapes, types and knobs; IndexError for ids outside the table, where a look costs no wait."""
    if table.ndim != 2 or table.shape[1] == 0 or table.dtype not in FLOATS:
        raise ValueError(f"table must be [V, D] of a float dtype, got {list(table.shape)} of {table.dtype}")
    for name, given in (("values", values), ("offsets", offsets)):
        if given.ndim != 1 or given.dtype != torch.int64:
            raise ValueError(f"{name} must be int64 of one dimension, got {given.dtype} of {list(given.shape)}")
    if not len(offsets):
        raise ValueError("offsets must hold one number more than there are bags, got none; without bags give [0]")
    if weights is not None and (weights.shape != values.shape or weights.dtype not in FLOATS):
        raise ValueError(
            f"weights must be floats of shape [{len(values)}], got {weights.dtype} of {list(weights.shape)}"
        )
    if mode not in ("sum", "mean"):
        raise ValueError(f"mode must be 'sum' or 'mean', got {mode!r}")
    if not 0 <= num_hashes <= 16 or (num_hashes and len(table) < 2):
        raise ValueError(
            f"num_hashes must be 0 to 16, and to hash takes a row beside the padding: got num_hashes {num_hashes} "
            f"and a table of {len(table)} rows"
        )
    if values.device.type == "cpu" and not torch.compiler.is_compiling():
        _check_numbers(table, values, offsets, num_hashes)


def _check_numbers(table: Tensor, values: Tensor, offsets: Tensor, num_hashes: int) -> None:
    if offsets[0] != 0 or offsets[-1] != len(values) or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(
            f"offsets must rise from 0 to the number of values, {len(values)}; got {offsets[:4].tolist()} to {int(offsets[-1])}"
        )
    if num_hashes == 0 and len(values) and not 0 <= int(values.min()) <= int(values.max()) < len(table):
        raise IndexError(
            f"values lie in [{int(values.min())}, {int(values.max())}], the table has rows 0 to {len(table) - 1}; "
            "give num_hashes to hash ids into it"
        )
