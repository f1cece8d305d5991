"""The scan as one kernel: every lane keeps the best pair that it has met, so nothing is reduced before the loop ends."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.choose import INTERPRETED
from kernels.pairwise.select import Pairs, Want, score_of

NEAREST, FARTHEST, BEYOND, RANDOM = (tl.constexpr(number) for number in range(4))
PICKS = {"nearest": 0, "farthest": 1, "beyond": 2, "random": 3}
INTERPRETER = tl.constexpr(INTERPRETED)
NEVER = tl.constexpr(2**31 - 1)  # a key or a column that no pair has


def scan(pairs: Pairs, want: Want) -> tuple[Tensor, Tensor]:
    """Places [B] int64, -1 for none, and their scores [B]; the lowest place among equals."""
    size, dim = pairs.vectors.shape
    place = torch.full((size,), -1, dtype=torch.int32, device=pairs.vectors.device)
    found = torch.full_like(pairs.norms, torch.nan)
    major = torch.cuda.get_device_capability(place.device)[0] if place.is_cuda else 9
    launch = launch_of(dim, pairs.vectors.element_size(), want.pick, 10 * major)
    launch |= {
        "SAME": want.same,
        "PICK": PICKS[want.pick],
        "EMU": INTERPRETED and pairs.vectors.dtype == torch.bfloat16,
    }
    scan_kernel[(triton.cdiv(size, launch["BM"]),)](
        pairs.vectors,
        pairs.norms,
        pairs.kind,
        pairs.item,
        pairs.draw,
        pairs.span,
        want.limit,
        place,
        found,
        size,
        dim,
        **launch,
    )
    places = place.long()
    return places, found if want.pick in ("nearest", "farthest") else score_of(pairs, places)


def launch_of(dim: int, bytes_each: int, pick: str, arch: int) -> dict[str, Any]:
    """The constants of a launch on sm_`arch`, by what `make kernels` counts; vectors wider than a tile are met in parts."""
    if bytes_each > 2:  # three products of tf32, whose operands fill the registers
        rows, columns, warps, stages, widest = 64, 16 if arch < 90 and dim > 64 else 32, 4, 2, 32
    elif pick == "random" and dim <= 128:
        rows, columns, warps, stages, widest = 256, 32, 8, 3, 128
    else:
        rows, columns, warps, stages, widest = 128, 64, 8, 3 if dim <= 64 else 2, 128 if dim <= 256 else 64
    wide = min(max(16, int(triton.next_power_of_2(dim))), widest)
    parts = {"BD": wide, "PARTS": -(-dim // wide), "EVEN": dim % wide == 0}
    return {"BM": rows, "BN": columns, "num_warps": warps, "num_stages": stages, **parts}


@triton.jit
def scan_kernel(
    vectors,
    norms,
    kind,
    item,
    draw,
    span,
    limit,
    place,
    found,
    size,
    dim,
    SAME: tl.constexpr,
    PICK: tl.constexpr,
    EMU: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    PARTS: tl.constexpr,
    EVEN: tl.constexpr,
):
    row = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = row < size
    x = _part(vectors, tl.program_id(0) * BM, size, dim, 0, True, EMU, BM, BD, EVEN)
    row_kind = tl.load(kind + row, mask=inside, other=-1)
    row_item = tl.load(item + row, mask=inside, other=-1)
    row_draw = tl.load(draw + row, mask=inside, other=0)
    bound = row_kind.to(tl.float32)
    if limit is not None:
        bound = tl.load(limit + row, mask=inside, other=0.0)
    first = 0
    last = size
    if SAME:
        first = tl.min(tl.load(span + row, mask=inside, other=NEVER), axis=0) // BN * BN
        last = tl.max(tl.load(span + size + row, mask=inside, other=0), axis=0)
    best = tl.full((BM, BN), NEVER, tl.int32) if PICK >= BEYOND else tl.full((BM, BN), float("inf"), tl.float32)
    turn = tl.full((BM, BN), NEVER, tl.int32)
    whole = last // BN * BN
    for start in range(first, whole, BN):
        score = _scores(vectors, norms, x, size, dim, start, False, PICK, EMU, BM, BN, BD, PARTS, EVEN)
        key = _keys(
            score, kind, item, draw, limit, size, start, row_kind, row_item, row_draw, bound, False, SAME, PICK, BN
        )
        turn = tl.where(key < best, start, turn)
        best = _least(best, key)
    if whole < last:
        score = _scores(vectors, norms, x, size, dim, whole, True, PICK, EMU, BM, BN, BD, PARTS, EVEN)
        key = _keys(
            score, kind, item, draw, limit, size, whole, row_kind, row_item, row_draw, bound, True, SAME, PICK, BN
        )
        turn = tl.where(key < best, whole, turn)
        best = _least(best, key)
    least = tl.min(best, axis=1)
    met = (best == least[:, None]) & (turn != NEVER)
    chosen = tl.min(tl.where(met, turn + tl.arange(0, BN)[None, :], NEVER), axis=1)
    some = inside & (chosen != NEVER)
    tl.store(place + row, chosen, mask=some)
    if PICK < BEYOND:
        tl.store(found + row, least if PICK == NEAREST else -least, mask=some)


@triton.jit
def _scores(vectors, norms, x, size, dim, start, TAIL: tl.constexpr, PICK: tl.constexpr, EMU: tl.constexpr,
            BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, PARTS: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """[BM, BN] scores against the columns from `start` on; their negatives where the farthest is wanted."""
    column = start + tl.arange(0, BN)
    inside = column < size
    y = _part(vectors, start, size, dim, 0, TAIL, EMU, BN, BD, EVEN)
    dots = tl.dot(x, tl.trans(y), input_precision="tf32x3")
    if PARTS * BD <= 256:
        for part in tl.static_range(1, PARTS):
            x = _part(vectors, tl.program_id(0) * BM, size, dim, part, True, EMU, BM, BD, EVEN)
            y = _part(vectors, start, size, dim, part, TAIL, EMU, BN, BD, EVEN)
            dots = tl.dot(x, tl.trans(y), dots, input_precision="tf32x3")
    else:  # unrolled, every part would have its own buffers
        for part in range(1, PARTS):
            x = _part(vectors, tl.program_id(0) * BM, size, dim, part, True, EMU, BM, BD, EVEN)
            y = _part(vectors, start, size, dim, part, TAIL, EMU, BN, BD, EVEN)
            dots = tl.dot(x, tl.trans(y), dots, input_precision="tf32x3")
    norm = tl.load(norms + column, mask=inside, other=float("nan")) if TAIL else tl.load(norms + column)
    return 2 * dots - norm[None, :] if PICK == FARTHEST else norm[None, :] - 2 * dots


@triton.jit
def _keys(score, kind, item, draw, limit, size, start, row_kind, row_item, row_draw, bound, TAIL: tl.constexpr,
          SAME: tl.constexpr, PICK: tl.constexpr, BN: tl.constexpr):  # fmt: skip
    """[BM, BN] of which the least is wanted; a score that is no number is never less than another."""
    column = start + tl.arange(0, BN)
    inside = column < size
    its_kind = tl.load(kind + column, mask=inside, other=-1) if TAIL else tl.load(kind + column)
    if SAME:
        its_item = tl.load(item + column, mask=inside, other=-1) if TAIL else tl.load(item + column)
        fit = (row_kind[:, None] == its_kind[None, :]) & (row_item[:, None] != its_item[None, :])
    else:
        fit = row_kind[:, None] != its_kind[None, :]
    if PICK == RANDOM:
        its_draw = tl.load(draw + size + column, mask=inside, other=0) if TAIL else tl.load(draw + size + column)
        fit = fit & (score < (bound[:, None] if limit is not None else float("inf")))
        return tl.where(fit, _draw(row_draw[:, None] ^ its_draw[None, :]), NEVER)
    elif PICK == BEYOND:
        # the bits of bound - score rise first with scores above the bound, from it on, then with those below, from it on
        short = bound[:, None] - score
        if INTERPRETER:  # a device's NaN has the bits of NEVER
            fit = fit & (short == short)
        return tl.where(fit, short.to(tl.int32, bitcast=True), NEVER)
    else:
        return tl.where(fit, score, float("inf"))


@triton.jit
def _least(best, key):
    """A device's minimum passes over what is no number, the interpreter's doesn't."""
    return tl.where(key < best, key, best) if INTERPRETER else tl.minimum(best, key)


@triton.jit
def _draw(numbers):
    """As kernels.pairwise.select.draws."""
    mixed = numbers.to(tl.uint32, bitcast=True) * 0x85EBCA6B
    mixed = (mixed ^ (mixed >> 15)) * 0xC2B2AE35
    return (mixed & 0x7FFFFFFE).to(tl.int32, bitcast=True)


@triton.jit
def _part(vectors, start, size, dim, part, MASKED: tl.constexpr, EMU: tl.constexpr, ROWS: tl.constexpr, BD: tl.constexpr,
          EVEN: tl.constexpr):  # fmt: skip
    """[ROWS, BD] of the vectors from `start` on; in float32 where the interpreter can't count in bfloat16."""
    row = tl.arange(0, ROWS)
    d = part * BD + tl.arange(0, BD)
    where = vectors + tl.cast(start, tl.int64) * dim + (row[:, None] * dim + d[None, :])
    if EVEN and not MASKED:
        held = tl.load(where)
    elif EVEN:
        held = tl.load(where, mask=(start + row < size)[:, None], other=0.0)
    else:
        held = tl.load(where, mask=(start + row < size)[:, None] & (d < dim)[None, :], other=0.0)
    return held.to(tl.float32) if EMU else held
