"""A program is a list: what it knows of its candidates stays in registers from turn to turn."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.topk_mmr.op import FLOOR, Lists

WIDEST = 8192
SPAN_FLOOR = tl.constexpr(FLOOR)


def greedy(lists: Lists, turns: int, lam: float, method: str) -> Tensor:
    """[B, turns] int64 places, -1 where a list has no more."""
    rows, width, dim = lists.vectors.shape
    if width > WIDEST:
        raise ValueError(
            f"topk_mmr: impl='triton' takes up to {WIDEST} candidates a list, got {width}; "
            "cut the lists by score first, or take impl='chunked'"
        )
    vectors = lists.vectors.contiguous()
    place = torch.full((rows, turns), -1, dtype=torch.int32, device=vectors.device)
    dpp = method == "dpp" and lam > 0
    factor = lists.squares.new_empty(rows, turns, width) if dpp else None
    launch = launch_of(width, dim) | {"DPP": dpp}
    constants: dict[str, Any] = launch
    greedy_kernel[(rows,)](
        vectors, lists.value, lists.squares, factor, place, width, dim, turns, float(lam), **constants
    )
    return place.long()


def launch_of(width: int, dim: int) -> dict[str, Any]:
    """The constants of a launch: the vectors are read in strips of BD columns, 16 numbers a lane."""
    block = max(16, int(triton.next_power_of_2(width)))
    warps = 4 if block <= 512 else 8 if block <= 2048 else 16
    strip = max(1, min(int(triton.next_power_of_2(dim)), 16 * 32 * warps // block))
    return {"BN": block, "BD": strip, "num_warps": warps}


@triton.jit
def greedy_kernel(
    vectors,
    value,
    squares,
    factor,
    place,
    width,
    dim,
    turns,
    lam,
    DPP: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, BN)
    inside = n < width
    worth = tl.load(value + row * width + n, mask=inside, other=float("-inf"))
    square = tl.load(squares + row * width + n, mask=inside, other=0.0)
    left = square
    cost = tl.zeros((BN,), tl.float32)
    if DPP:
        cost = _span_cost(left, square)
    vectors += row * width * dim
    for turn in range(turns):
        now = tl.where(worth == float("-inf"), worth, worth - lam * cost)
        most = tl.max(now, axis=0)
        best = tl.argmax(now, axis=0)
        if most > float("-inf"):
            tl.store(place + row * turns + turn, best)
            worth = tl.where(n == best, float("-inf"), worth)
            product = _products(vectors, n, inside, best, dim, BN, BD)
            if DPP:
                own = tl.sum(tl.where(n == best, left, 0.0), axis=0)
                for past in range(turn):
                    held = factor + (row * turns + past) * width
                    product -= tl.load(held + n, mask=inside, other=0.0) * tl.load(held + best)
                grown = product / tl.sqrt(own)
                tl.store(factor + (row * turns + turn) * width + n, grown, mask=inside)
                tl.debug_barrier()  # the next turn reads what other lanes have written
                left -= grown * grown
                cost = _span_cost(left, square)
            else:
                cost = tl.where(turn == 0, product, tl.maximum(cost, product))


@triton.jit
def _span_cost(left, square):
    """Minus the log of what lies outside the span; inf for what lies in it."""
    return tl.where(left > square * SPAN_FLOOR, -tl.log(tl.maximum(left, 1e-37)), float("inf"))


@triton.jit
def _products(vectors, n, inside, best, dim, BN: tl.constexpr, BD: tl.constexpr):
    """[BN] of every vector with the one chosen last."""
    total = tl.zeros((BN,), tl.float32)
    for start in range(0, dim, BD):
        d = start + tl.arange(0, BD)
        strip = tl.load(vectors + n[:, None] * dim + d[None, :], mask=inside[:, None] & (d < dim)[None, :], other=0.0)
        last = tl.load(vectors + best * dim + d, mask=d < dim, other=0.0)
        total += tl.sum(strip.to(tl.float32) * last.to(tl.float32)[None, :], axis=1)
    return total
