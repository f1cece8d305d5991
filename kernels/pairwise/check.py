"""What triplet refuses, with the value and the remedy, before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check(vectors: Tensor, labels: Tensor, ids: Tensor | None) -> None:
    """Raise ValueError unless vectors are [B, D] of a float dtype, labels and ids [B] int64."""
    if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype not in FLOATS:
        raise ValueError(f"vectors must be [B, D] of a float dtype, got {list(vectors.shape)} of {vectors.dtype}")
    for name, given in (("labels", labels), ("ids", ids)):
        if given is not None and (given.shape != vectors.shape[:1] or given.dtype != torch.int64):
            raise ValueError(
                f"{name} must be int64 of shape [{len(vectors)}], one for each vector, "
                f"got {given.dtype} of {list(given.shape)}"
            )
