"""The choice as one operator of torch, opaque to the compiler; places have no gradient."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = (
    1e-5  # share of an item's square outside the span of the chosen, below which it adds nothing that can be counted
)


@dataclass(frozen=True, slots=True)
class Lists:
    """Candidates of each list; those with value -inf are none."""

    vectors: Tensor  # [B, N, D]
    value: Tensor  # [B, N] (1 - lam) * score in [0, 1], of the scores' dtype, float32 at least
    squares: Tensor  # [B, N] |v|^2, float32 at least


def full(dtype: torch.dtype) -> torch.dtype:
    """What sums are held in."""
    return dtype if dtype == torch.float64 else torch.float32


@torch.library.custom_op("topk_mmr::pick", mutates_args=())
def pick(vectors: Tensor, scores: Tensor, mask: Tensor | None, k: int, lam: float, method: str, impl: str) -> Tensor:
    """[B, k] int64 places, -1 where a list has no more."""
    place = torch.full((len(scores), k), -1, dtype=torch.int64, device=scores.device)
    turns = min(k, scores.shape[1])
    if not len(scores) or not turns:
        return place
    # who stays on a CPU doesn't import triton
    greedy = importlib.import_module(f"kernels.topk_mmr.{impl}").greedy
    place[:, :turns] = greedy(_lists(vectors, scores, mask, lam), turns, lam, method)
    return place


@pick.register_fake
def _(vectors, scores, mask, k, lam, method, impl):  # type: ignore[no-untyped-def]
    return scores.new_empty((scores.shape[0], k), dtype=torch.int64)


def _lists(vectors: Tensor, scores: Tensor, mask: Tensor | None, lam: float) -> Lists:
    rows = vectors.to(full(vectors.dtype))
    squares = torch.linalg.vector_norm(rows, dim=2).square()
    scores = scores.to(full(scores.dtype))
    valid = scores.isfinite() & squares.isfinite()
    if mask is not None:
        valid &= mask
    low = scores.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
    span = scores.masked_fill(~valid, -torch.inf).amax(1, keepdim=True) - low
    value = (scores - low) / span.where(span > 0, 1)
    return Lists(vectors, ((1 - lam) * value).masked_fill(~valid, -torch.inf), squares)
