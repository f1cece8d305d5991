"""The plain truth: one segment after another."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.segments.op import full


def logsumexp(scores: Tensor, offsets: Tensor) -> Tensor:
    """[B, G] in float32 at least."""
    sums = [part.logsumexp(1) for part in _parts(scores, offsets)]
    return torch.stack(sums, 1) if sums else scores.new_empty(len(scores), 0)


def logsumexp_backward(gradient: Tensor, scores: Tensor, total: Tensor, offsets: Tensor) -> Tensor:
    """[B, N]"""
    held = logsumexp(scores, offsets)
    held = held.masked_fill(held.isinf(), 0)
    parts = enumerate(_parts(scores, offsets))
    return torch.cat([gradient[:, g : g + 1] * (part - held[:, g : g + 1]).exp() for g, part in parts], 1)


def log_softmax(scores: Tensor, offsets: Tensor) -> Tensor:
    """[B, N] in float32 at least."""
    return torch.cat([part.log_softmax(1) for part in _parts(scores, offsets)], 1)


def log_softmax_backward(gradient: Tensor, shares: Tensor, offsets: Tensor) -> Tensor:
    """[B, N]"""
    both = zip(_parts(gradient, offsets), _parts(shares, offsets), strict=True)
    return torch.cat([part - share.exp() * part.sum(1, keepdim=True) for part, share in both], 1)


def _parts(rows: Tensor, offsets: Tensor) -> list[Tensor]:
    return list(rows.to(full(rows.dtype)).split(offsets.diff().tolist(), 1))
