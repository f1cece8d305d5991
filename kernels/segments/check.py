"""What the segmented ops refuse, with the value and the remedy, before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check(scores: Tensor, offsets: Tensor) -> None:
    """Raise ValueError for shapes and types, and for offsets' numbers where a look costs no wait."""
    if scores.ndim != 2 or scores.dtype not in FLOATS:
        raise ValueError(f"scores must be [B, N] of a float dtype, got {list(scores.shape)} of {scores.dtype}")
    if offsets.ndim != 1 or offsets.dtype != torch.int64 or not len(offsets):
        raise ValueError(
            f"offsets must be int64 of one dimension, with one number more than there are segments; "
            f"got {offsets.dtype} of {list(offsets.shape)}"
        )
    if offsets.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if offsets[0] != 0 or offsets[-1] != scores.shape[1] or (offsets[1:] < offsets[:-1]).any():
        raise ValueError(
            f"offsets must rise from 0 to the number of columns, {scores.shape[1]}; "
            f"got {offsets[:4].tolist()} to {int(offsets[-1])}"
        )
