"""Triplets of a batch: which positive and which negative every anchor meets, and what it loses."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.choose import choose
from kernels.pairwise.check import check
from kernels.pairwise.loss import TripletOutput, lose
from kernels.pairwise.select import Rule, select

__all__ = ["TripletOutput", "triplet"]


def triplet(
    vectors: Tensor,
    labels: Tensor,
    *,
    ids: Tensor | None = None,
    metric: str = "euclidean",
    positive: str = "hard",
    negative: str = "hard",
    margin: float | None = 0.2,
    seed: int = 0,
    impl: str = "auto",
) -> TripletOutput:
    """An anchor has to lie nearer to its own kind than to any other, by a margin.

    vectors [B, D], labels [B] int64, ids [B] int64: copies of one item (equal ids) are neither positive nor negative
    to each other; without ids every row is an item of its own. Distances are "euclidean", "squared" or "cosine"
    (1 - cos). The positive is the farthest ("hard", Hermans et al. 2017), the nearest ("easy") or any ("random"); the
    negative is the nearest ("hard"), the nearest beyond the positive ("semihard", Schroff et al. 2015) or any that
    is nearer than positive + margin ("random"). A margin of None is the soft one, softplus. Loss [B], unreduced; 0
    where an anchor has no positive or no negative, whose place is -1. Gradients flow to vectors, not through the choice.
    Memory is of the order of B * D. Raises ValueError for what doesn't fit together.
    """
    check(vectors, labels, ids)
    rule = Rule(metric, positive, negative, margin, seed)
    chosen = choose("pairwise", impl, (vectors, labels, ids))
    if chosen == "triton" and vectors.dtype == torch.float64:
        raise ValueError("pairwise: impl='triton' takes no float64; convert the vectors or take impl='chunked'")
    places = select(vectors.detach(), labels, ids, rule, chosen)
    return lose(vectors, *places, metric=metric, margin=margin)
