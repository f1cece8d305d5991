"""Segments of like lengths are one dense block: torch reduces it along its last dimension, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.choose import rows_at_once
from kernels.segments.op import full


@dataclass(frozen=True, slots=True)
class Block:
    """Segments whose lengths round up to one power of two, or have one length and follow each other."""

    which: Tensor | slice  # [S] segments
    places: Tensor | slice  # [S, W] columns, or the slice of them all
    beyond: Tensor | None  # [S, W] True where a segment has ended; None where all are whole
    shape: tuple[int, int]

    def of(self, rows: Tensor, fill: float) -> Tensor:
        """[b, S, W], `fill` beyond a segment's end."""
        held = rows[:, self.places].reshape(len(rows), *self.shape)
        return held if self.beyond is None else held.masked_fill(self.beyond, fill)


def logsumexp(scores: Tensor, offsets: Tensor) -> Tensor:
    """[B, G] in float32 at least."""
    blocks = _blocks(offsets)
    total = scores.new_full((len(scores), len(offsets) - 1), -torch.inf, dtype=full(scores.dtype))
    for at in _rows(scores):
        _reduce(blocks, scores[at].to(total.dtype), -torch.inf, lambda part: part.logsumexp(2), total[at])
    return total


def logsumexp_backward(gradient: Tensor, scores: Tensor, total: Tensor, offsets: Tensor) -> Tensor:
    """[B, N]"""
    if scores.dtype != full(scores.dtype):  # what came back is rounded
        total = logsumexp(scores, offsets)
    owner = _owner(offsets)
    found = torch.empty_like(scores, dtype=full(scores.dtype))
    for at in _rows(scores):
        shift = total[at].masked_fill(total[at].isinf(), 0)[:, owner]
        torch.sub(scores[at], shift, out=found[at]).exp_().mul_(gradient[at][:, owner])
    return found


def log_softmax(scores: Tensor, offsets: Tensor) -> Tensor:
    """[B, N] in float32 at least."""
    owner, blocks = _owner(offsets), _blocks(offsets)
    found = torch.empty_like(scores, dtype=full(scores.dtype))
    for at in _rows(scores):
        rows = scores[at].to(found.dtype)
        total = rows.new_full((len(rows), len(offsets) - 1), -torch.inf)
        _reduce(blocks, rows, -torch.inf, lambda part: part.logsumexp(2), total)
        torch.sub(rows, total[:, owner], out=found[at])
    return found


def log_softmax_backward(gradient: Tensor, shares: Tensor, offsets: Tensor) -> Tensor:
    """[B, N]"""
    owner, blocks = _owner(offsets), _blocks(offsets)
    found = torch.empty_like(shares, dtype=full(shares.dtype))
    for at in _rows(shares):
        rows = gradient[at].to(found.dtype)
        total = rows.new_zeros(len(rows), len(offsets) - 1)
        _reduce(blocks, rows, 0.0, lambda part: part.sum(2), total)
        torch.exp(shares[at].to(found.dtype), out=found[at]).mul_(total[:, owner]).neg_().add_(rows)
    return found


def _reduce(blocks: list[Block], rows: Tensor, fill: float, reduce: Callable[[Tensor], Tensor], into: Tensor) -> None:
    for block in blocks:
        into[:, block.which] = reduce(block.of(rows, fill))


def _rows(rows: Tensor) -> Iterator[slice]:
    step = rows_at_once(rows.shape[1])
    return (slice(start, start + step) for start in range(0, len(rows), step))


def _owner(offsets: Tensor) -> Tensor:
    """[N] the segment of each column."""
    every = torch.arange(len(offsets) - 1, device=offsets.device)
    return every.repeat_interleave(offsets.diff())


def _blocks(offsets: Tensor) -> list[Block]:
    lengths = offsets.diff()
    classes = torch.where(lengths > 0, (lengths - 1).clamp(min=1).double().log2().floor() + 1, -1).long()
    return [
        _block(offsets, lengths, (classes == held).nonzero()[:, 0]) for held in classes.unique().tolist() if held >= 0
    ]


def _block(offsets: Tensor, lengths: Tensor, which: Tensor) -> Block:
    width, first, last = int(lengths[which].max()), int(which[0]), int(which[-1])
    whole = bool((lengths[which] == width).all())
    if whole and last - first + 1 == len(which):
        span = slice(int(offsets[first]), int(offsets[last + 1]))
        return Block(slice(first, last + 1), span, None, (len(which), width))
    step = torch.arange(width, device=offsets.device)
    beyond = step >= lengths[which, None]
    places = (offsets[which, None] + step).masked_fill(beyond, 0)
    return Block(which, places, None if whole else beyond, (len(which), width))
