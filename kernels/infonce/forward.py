"""The forward pass: a program has a block of rows and walks over the columns, keeping running sums in registers."""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.infonce.tiles import entries, special, tile_of


@triton.jit
def forward_kernel(
    QUERY,  # [B, D], rows and columns in the order of their hits
    VECTORS,  # [N, D]
    SCALE,  # [] log2(e) / temperature
    OFFSET,  # [N] bits: minus log_q
    FIRST,  # [B] int32: a row's closed columns are those from FIRST on
    LAST,  # [B] int32: to before LAST; N and 0 where there is none
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
    PRECISION: tl.constexpr,
    EMU: tl.constexpr,
):
    start = tl.program_id(0) * BM
    rows = start + tl.arange(0, BM)
    query = tile_of(QUERY, start, B, D, BM, BD, True, EMU)
    first = entries(FIRST, rows, B, 2147483647, True)
    last = entries(LAST, rows, B, 0, True)
    scale = tl.load(SCALE)
    best = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    square = tl.zeros([BM], tl.float32)
    whole, low, high = special(tl.min(first), tl.max(last), N, BN)
    for i in range(0, whole - (high - low)):
        tile = tl.where(i < low, i, i + high - low)
        best, total, square = _add_tile(
            query, first, last, scale, best, total, square, tile * BN, VECTORS, OFFSET, N,
            D, BN, BD, CORRECTED, False, PRECISION, EMU,
        )  # fmt: skip
    for i in range(0, high - low + tl.cdiv(N, BN) - whole):
        tile = tl.where(i < high - low, low + i, whole)
        best, total, square = _add_tile(
            query, first, last, scale, best, total, square, tile * BN, VECTORS, OFFSET, N,
            D, BN, BD, CORRECTED, True, PRECISION, EMU,
        )  # fmt: skip
    unit = 1.0 if CORRECTED else scale
    shift = tl.where(best == float("-inf"), 0.0, best) * unit
    inside = rows < B
    tl.store(RIVALS + rows, (shift + tl.log2(total)) * 0.6931471805599453, mask=inside)
    tl.store(BEST + rows, best * unit * 0.6931471805599453, mask=inside)
    tl.store(EFFECTIVE + rows, tl.where(total == 0.0, 0.0, total * (total / square)), mask=inside)


@triton.jit
def _add_tile(
    query, first, last, scale, best, total, square, start, VECTORS, OFFSET, N,
    D: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, CORRECTED: tl.constexpr,
    EDGE: tl.constexpr, PRECISION: tl.constexpr, EMU: tl.constexpr,
):  # fmt: skip
    """One tile of columns more in the rows' running maximum, sum and sum of squares."""
    columns = start + tl.arange(0, BN)
    vectors = tile_of(VECTORS, start, N, D, BN, BD, EDGE, EMU)
    logit = tl.dot(query, tl.trans(vectors), input_precision=PRECISION)
    if CORRECTED:
        logit = logit * scale + entries(OFFSET, columns, N, 0.0, EDGE)[None, :]
    if EDGE:
        closed = (columns[None, :] >= first[:, None]) & (columns[None, :] < last[:, None])
        logit = tl.where(closed | (columns >= N)[None, :], float("-inf"), logit)
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
