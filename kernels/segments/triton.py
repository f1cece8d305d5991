"""A program holds several segments of one row, as many columns of each as they have on average."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.choose import INTERPRETED

TILE = 512  # numbers a program holds


def logsumexp(scores: Tensor, offsets: Tensor) -> Tensor:
    """[B, G] in float32."""
    total = torch.empty(len(scores), len(offsets) - 1, dtype=torch.float32, device=scores.device)
    _run(sums_kernel, scores, offsets, scores, offsets, total)
    return total


def logsumexp_backward(gradient: Tensor, scores: Tensor, total: Tensor, offsets: Tensor) -> Tensor:
    """[B, N] of the scores' dtype."""
    if scores.dtype != torch.float32:  # what came back is rounded
        total = logsumexp(scores, offsets)
    found = _like(scores)
    _run(sums_backward_kernel, scores, offsets, gradient, scores, total, offsets, found)
    return found


def log_softmax(scores: Tensor, offsets: Tensor) -> Tensor:
    """[B, N] of the scores' dtype."""
    found = _like(scores)
    _run(shares_kernel, scores, offsets, scores, offsets, found)
    return found


def log_softmax_backward(gradient: Tensor, shares: Tensor, offsets: Tensor) -> Tensor:
    """[B, N] of the shares' dtype."""
    found = _like(shares)
    _run(shares_backward_kernel, shares, offsets, gradient, shares, offsets, found)
    return found


def _like(rows: Tensor) -> Tensor:
    """The interpreter cuts digits off where a device rounds."""
    return torch.empty_like(rows, dtype=torch.float32 if INTERPRETED else rows.dtype)


def launch_of(columns: int, segments: int) -> dict[str, Any]:
    """The constants of a launch: BG segments a program, BW columns of each at once; only shapes are asked."""
    mean = -(-columns // max(1, segments))
    width = min(int(triton.next_power_of_2(max(mean, 2))), TILE)
    few = int(triton.next_power_of_2(max(segments, 1)))
    held = min(TILE // width, few)
    return {"BG": held, "BW": width, "num_warps": min(4, max(1, held * width // 128))}


def _run(kernel: Any, rows: Tensor, offsets: Tensor, *buffers: Tensor) -> None:
    num, segments = len(rows), len(offsets) - 1
    launch = launch_of(rows.shape[1], segments)
    if num and segments:
        kernel[(num, triton.cdiv(segments, launch["BG"]))](*buffers, rows.shape[1], segments, **launch)


@triton.jit
def sums_kernel(scores, offsets, total, columns, segments, BG: tl.constexpr, BW: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    g = tl.program_id(1) * BG + tl.arange(0, BG)
    start, stop = _bound(offsets, g, segments), _bound(offsets + 1, g, segments)
    held = _logsumexp(scores + row * columns, start, stop, BG, BW)
    tl.store(total + row * segments + g, held, mask=g < segments)


@triton.jit
def sums_backward_kernel(gradient, scores, total, offsets, found, columns, segments, BG: tl.constexpr,
                         BW: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    g = tl.program_id(1) * BG + tl.arange(0, BG)
    start, stop = _bound(offsets, g, segments), _bound(offsets + 1, g, segments)
    shift = tl.load(total + row * segments + g, mask=g < segments, other=0.0).to(tl.float32)
    shift = tl.where(tl.abs(shift) == float("inf"), 0.0, shift)
    asked = tl.load(gradient + row * segments + g, mask=g < segments, other=0.0).to(tl.float32)
    for at in range(0, tl.max(stop - start, axis=0), BW):
        place = start[:, None] + at + tl.arange(0, BW)[None, :]
        inside = place < stop[:, None]
        x = tl.load(scores + row * columns + place, mask=inside, other=0.0).to(tl.float32)
        slope = tl.exp(x - shift[:, None]) * asked[:, None]
        tl.store(found + row * columns + place, slope.to(found.dtype.element_ty), mask=inside)


@triton.jit
def shares_kernel(scores, offsets, found, columns, segments, BG: tl.constexpr, BW: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    g = tl.program_id(1) * BG + tl.arange(0, BG)
    start, stop = _bound(offsets, g, segments), _bound(offsets + 1, g, segments)
    held = _logsumexp(scores + row * columns, start, stop, BG, BW)
    for at in range(0, tl.max(stop - start, axis=0), BW):
        place = start[:, None] + at + tl.arange(0, BW)[None, :]
        inside = place < stop[:, None]
        x = tl.load(scores + row * columns + place, mask=inside, other=0.0).to(tl.float32)
        tl.store(found + row * columns + place, (x - held[:, None]).to(found.dtype.element_ty), mask=inside)


@triton.jit
def shares_backward_kernel(gradient, shares, offsets, found, columns, segments, BG: tl.constexpr,
                           BW: tl.constexpr):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    g = tl.program_id(1) * BG + tl.arange(0, BG)
    start, stop = _bound(offsets, g, segments), _bound(offsets + 1, g, segments)
    summed = tl.zeros((BG,), tl.float32)
    for at in range(0, tl.max(stop - start, axis=0), BW):
        place = start[:, None] + at + tl.arange(0, BW)[None, :]
        inside = place < stop[:, None]
        asked = tl.load(gradient + row * columns + place, mask=inside, other=0.0).to(tl.float32)
        summed += tl.sum(asked, axis=1)
    for at in range(0, tl.max(stop - start, axis=0), BW):
        place = start[:, None] + at + tl.arange(0, BW)[None, :]
        inside = place < stop[:, None]
        asked = tl.load(gradient + row * columns + place, mask=inside, other=0.0).to(tl.float32)
        share = tl.exp(tl.load(shares + row * columns + place, mask=inside, other=0.0).to(tl.float32))
        slope = asked - share * summed[:, None]
        tl.store(found + row * columns + place, slope.to(found.dtype.element_ty), mask=inside)


@triton.jit
def _bound(offsets, g, segments):
    """[BG] where segments begin, or end one further; beyond the last one they are empty."""
    return tl.load(offsets + g, mask=g < segments, other=0)


@triton.jit
def _logsumexp(scores, start, stop, BG: tl.constexpr, BW: tl.constexpr):
    """[BG] with the largest number so far taken off; an infinite one isn't, as in torch's logsumexp."""
    high = tl.full((BG,), float("-inf"), tl.float32)
    summed = tl.zeros((BG,), tl.float32)
    for at in range(0, tl.max(stop - start, axis=0), BW):
        place = start[:, None] + at + tl.arange(0, BW)[None, :]
        inside = place < stop[:, None]
        x = tl.load(scores + place, mask=inside, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(high, tl.max(x, axis=1))
        shift = tl.where(tl.abs(higher) == float("inf"), 0.0, higher)
        summed = summed * tl.exp(high - shift) + tl.sum(tl.exp(x - shift[:, None]), axis=1)
        high = higher
    return tl.log(summed) + tl.where(tl.abs(high) == float("inf"), 0.0, high)
