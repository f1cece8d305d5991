"""The best few of each list, where an item that is like a chosen one is worth less."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.choose import choose
from kernels.topk_mmr.check import check
from kernels.topk_mmr.op import pick

__all__ = ["topk_mmr"]


def topk_mmr(
    vectors: Tensor,
    scores: Tensor,
    k: int,
    *,
    lam: float,
    mask: Tensor | None = None,
    method: str = "mmr",
    impl: str = "auto",
) -> Tensor:
    """A list is worth more than its items: [B, k] int64 places chosen one by one, -1 where a list has no more.

    vectors [B, N, D] of norm 1, scores [B, N], mask [B, N] bool (True for a candidate; all if not given). Scores are scaled
    to [0, 1] within each list. The next is the one of greatest (1 - lam) * score - lam * likeness, the lowest place among equals.
    The likeness is the greatest product with a chosen vector ("mmr", Carbonell and Goldstein 1998), or minus the logarithm of
    the squared distance to the span of the chosen ("dpp", greedy MAP of a determinantal point process, Chen et al. 2018);
    of "dpp" what lies in that span, to 1e-5 of its own square, is no candidate. A candidate whose score or vector isn't
    finite is none either. No gradient. Raises ValueError for what doesn't fit together.
    """
    check(vectors, scores, mask, k, lam, method)
    chosen = choose("topk_mmr", impl, (vectors, scores, mask))
    if chosen == "triton" and torch.float64 in (vectors.dtype, scores.dtype):
        raise ValueError("topk_mmr: impl='triton' takes no float64; convert vectors and scores or take impl='chunked'")
    return pick(vectors.detach(), scores.detach(), mask, k, lam, method, chosen)
