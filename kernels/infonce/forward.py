"""The forward pass: a program has a block of rows and walks over the columns, keeping running sums in registers."""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.infonce.tiles import entries, special, tile_of


@triton.jit
def forward_kernel(
    QUERY,  # [B, D]
    VECTORS,  # [N, D]
    SCALE,  # [] log2(e) / temperature
    OFFSET,  # [N] bits: minus log_q
    ROW,  # [B] int32: the code that is closed to the row, or without NAMED its positive's place; -1 for none
    CODE,  # [N] int32
    RIVALS,  # [B] out, nats
    BEST,  # [B] out, nats
    EFFECTIVE,  # [B] out
    B,
    N,
    D: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    CORRECTED: tl.constexpr,
    NAMED: tl.constexpr,
    PRECISION: tl.constexpr,
    EMU: tl.constexpr,
):
    start = tl.program_id(0) * BM
    rows = start + tl.arange(0, BM)
    query = tile_of(QUERY, start, B, D, BM, BD, True, EMU)
    own = tl.load(ROW + rows, mask=rows < B, other=-1)
    scale = tl.load(SCALE)
    best = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    square = tl.zeros([BM], tl.float32)
    low, high = N, 0
    if not NAMED:
        low = tl.min(tl.where(own < 0, N, own))
        high = tl.max(own) + 1
    whole, first, last = special(low, high, N, BN)
    for i in range(0, whole - (last - first)):
        tile = tl.where(i < first, i, i + last - first)
        best, total, square = _add_tile(
            query, own, scale, best, total, square, tile, VECTORS, OFFSET, CODE, N,
            D, BN, BD, CORRECTED, NAMED, False, PRECISION, EMU,
        )
    for i in range(0, last - first + tl.cdiv(N, BN) - whole):
        tile = tl.where(i < last - first, first + i, whole)
        best, total, square = _add_tile(
            query, own, scale, best, total, square, tile, VECTORS, OFFSET, CODE, N,
            D, BN, BD, CORRECTED, NAMED, True, PRECISION, EMU,
        )
    unit = 1.0 if CORRECTED else scale
    shift = tl.where(best == float("-inf"), 0.0, best) * unit
    inside = rows < B
    tl.store(RIVALS + rows, (shift + tl.log2(total)) * 0.6931471805599453, mask=inside)
    tl.store(BEST + rows, best * unit * 0.6931471805599453, mask=inside)
    tl.store(EFFECTIVE + rows, tl.where(total == 0.0, 0.0, total * (total / square)), mask=inside)


@triton.jit
def _add_tile(
    query, own, scale, best, total, square, tile, VECTORS, OFFSET, CODE, N,
    D: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, CORRECTED: tl.constexpr, NAMED: tl.constexpr,
    EDGE: tl.constexpr, PRECISION: tl.constexpr, EMU: tl.constexpr,
):
    """One tile of columns more in the rows' running maximum, sum and sum of squares."""
    start = tile * BN
    columns = start + tl.arange(0, BN)
    vectors = tile_of(VECTORS, start, N, D, BN, BD, EDGE, EMU)
    logit = tl.dot(query, tl.trans(vectors), input_precision=PRECISION)
    if CORRECTED:
        logit = logit * scale + entries(OFFSET, columns, N, 0.0, EDGE)[None, :]
    if NAMED:
        logit = tl.where(own[:, None] == entries(CODE, columns, N, -2, EDGE)[None, :], float("-inf"), logit)
    if EDGE:
        closed = (columns >= N)[None, :]
        if not NAMED:
            closed = closed | (own[:, None] == columns[None, :])
        logit = tl.where(closed, float("-inf"), logit)
    top = tl.maximum(best, tl.max(logit, 1))
    shift = tl.where(top == float("-inf"), 0.0, top)
    if CORRECTED:
        share = tl.exp2(logit - shift[:, None])
        fade = tl.exp2(best - shift)
    else:  # the scale rides on the subtraction
        shift = shift * scale
        share = tl.exp2(logit * scale - shift[:, None])
        fade = tl.exp2(best * scale - shift)
    total = total * fade + tl.sum(share, 1)
    square = square * (fade * fade) + tl.sum(share * share, 1)
    return top, total, square
