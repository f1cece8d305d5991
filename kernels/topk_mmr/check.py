"""What topk_mmr refuses, with the value and the remedy, before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
METHODS = ("mmr", "dpp")


def check(vectors: Tensor, scores: Tensor, mask: Tensor | None, k: int, lam: float, method: str) -> None:
    """Raise ValueError for shapes, types and knobs that don't fit together."""
    if vectors.ndim != 3 or vectors.dtype not in FLOATS or vectors.shape[2] == 0:
        raise ValueError(f"vectors must be [B, N, D] of a float dtype, got {list(vectors.shape)} of {vectors.dtype}")
    if scores.shape != vectors.shape[:2] or scores.dtype not in FLOATS:
        raise ValueError(
            f"scores must be floats of shape {list(vectors.shape[:2])}, one for each vector, "
            f"got {scores.dtype} of {list(scores.shape)}"
        )
    if mask is not None and (mask.shape != scores.shape or mask.dtype != torch.bool):
        raise ValueError(f"mask must be bool of shape {list(scores.shape)}, got {mask.dtype} of {list(mask.shape)}")
    if k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must lie in [0, 1], got {lam}; 0 is by score alone, 1 by likeness alone")
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
