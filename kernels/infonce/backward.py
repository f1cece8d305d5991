"""The backward pass, deterministic: one kernel walks over columns for the rows, one over rows for the columns.

A pair's share is exp2(its logit - the row's log sum exp), and the incoming gradient is folded into that log where it
can be. With SYMMETRIC the share of the column's softmax is added, each with its own gradient.
"""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.infonce.tiles import entries, rounded, special, tile_of


@triton.jit
def query_kernel(
    QUERY,  # [B, D], rows and columns in the order of their hits
    VECTORS,  # [N, D]
    SCALE,  # [] log2(e) / temperature
    OFFSET,  # [N] bits: minus log_q
    FIRST,  # [B] int32, as in the forward pass
    LAST,  # [B] int32
    LSE,  # [B] bits: the rivals' log sum exp, +inf where there is none
    GRADIENT,  # [B] of the rivals; read with SYMMETRIC
    FACTOR,  # [B] what is left to multiply a row's sum with
    COLUMN_LSE,  # [N] bits, with SYMMETRIC
    COLUMN_GRADIENT,  # [N]
    PLACE,  # [B] int32: where a row's sum goes
    OUT,  # [B, D] float32
    B,
    N,
    D: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    CORRECTED: tl.constexpr,
    SYMMETRIC: tl.constexpr,
    PRECISION: tl.constexpr,
    EMU: tl.constexpr,
):
    start = tl.program_id(0) * BM
    rows = start + tl.arange(0, BM)
    query = tile_of(QUERY, start, B, D, BM, BD, True, EMU)
    first = entries(FIRST, rows, B, 2147483647, True)
    last = entries(LAST, rows, B, 0, True)
    lse = entries(LSE, rows, B, float("inf"), True)
    gradient = entries(GRADIENT, rows, B, 0.0, True) if SYMMETRIC else lse
    scale = tl.load(SCALE)
    total = tl.zeros([BM, BD], tl.float32)
    whole, low, high = special(tl.min(first), tl.max(last), N, BN)
    for i in range(0, whole - (high - low)):
        tile = tl.where(i < low, i, i + high - low)
        total = _query_tile(
            query, first, last, lse, gradient, scale, total, tile * BN,
            VECTORS, OFFSET, COLUMN_LSE, COLUMN_GRADIENT, N,
            D, BN, BD, CORRECTED, SYMMETRIC, False, PRECISION, EMU,
        )  # fmt: skip
    for i in range(0, high - low + tl.cdiv(N, BN) - whole):
        tile = tl.where(i < high - low, low + i, whole)
        total = _query_tile(
            query, first, last, lse, gradient, scale, total, tile * BN,
            VECTORS, OFFSET, COLUMN_LSE, COLUMN_GRADIENT, N,
            D, BN, BD, CORRECTED, SYMMETRIC, True, PRECISION, EMU,
        )  # fmt: skip
    place = entries(PLACE, rows, B, 0, True).to(tl.int64)
    parts = tl.arange(0, BD)
    inside = (rows < B)[:, None] & (parts < D)[None, :]
    total = total * entries(FACTOR, rows, B, 0.0, True)[:, None]
    tl.store(OUT + place[:, None] * D + parts[None, :], total, mask=inside)


@triton.jit
def _query_tile(
    query, first, last, lse, gradient, scale, total, start, VECTORS, OFFSET, COLUMN_LSE, COLUMN_GRADIENT, N,
    D: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, CORRECTED: tl.constexpr, SYMMETRIC: tl.constexpr,
    EDGE: tl.constexpr, PRECISION: tl.constexpr, EMU: tl.constexpr,
):  # fmt: skip
    """One tile of columns more in the rows' sums."""
    columns = start + tl.arange(0, BN)
    vectors = tile_of(VECTORS, start, N, D, BN, BD, EDGE, EMU)
    score = tl.dot(query, tl.trans(vectors), input_precision=PRECISION) * scale
    logit = score
    if CORRECTED:
        logit = logit + entries(OFFSET, columns, N, 0.0, EDGE)[None, :]
    logit -= lse[:, None]
    if EDGE:  # closed before exp2: after it the compiler picks zeros among packed halves, 1.3 instructions a logit
        closed = (columns[None, :] >= first[:, None]) & (columns[None, :] < last[:, None]) | (columns >= N)[None, :]
        logit = tl.where(closed, float("-inf"), logit)
        score = tl.where(closed, float("-inf"), score)
    share = tl.exp2(logit)
    if SYMMETRIC:
        back = tl.exp2(score - entries(COLUMN_LSE, columns, N, 0.0, EDGE)[None, :])
        share = share * gradient[:, None] + back * entries(COLUMN_GRADIENT, columns, N, 0.0, EDGE)[None, :]
    return tl.dot(rounded(share, VECTORS.dtype.element_ty, EMU), vectors, total, input_precision=PRECISION)


@triton.jit
def vectors_kernel(
    QUERY,  # [B, D] times the sign of the row's gradient, rows and columns in the order of their hits
    VECTORS,  # [N, D]
    ROW_SCALE,  # [B] log2(e) / temperature times that sign
    OFFSET,  # [N] bits: minus log_q
    FIRST,  # [B] int32, as in the forward pass
    LAST,  # [B] int32
    LSE,  # [B] bits: the rivals' log sum exp, less log2 of the gradient unless SYMMETRIC; +inf where that is nothing
    GRADIENT,  # [B] of the rivals; read with SYMMETRIC
    COLUMN_LSE,  # [N] bits, with SYMMETRIC
    COLUMN_GRADIENT,  # [N]
    LOW,  # [N] int32: the first row that a column is closed to, B for none
    HIGH,  # [N] int32: one past the last such row, 0 for none
    FACTOR,  # [] what is left to multiply a column's sum with
    PLACE,  # [N] int32: where a column's sum goes
    OUT,  # [N, D] float32
    ROW_FACTOR,  # [B] what is left to multiply a row's sum with, with ATOMIC
    ROW_PLACE,  # [B] int32
    OUT_QUERY,  # [B, D] float32, zero at first
    B,
    N,
    D: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    CORRECTED: tl.constexpr,
    SYMMETRIC: tl.constexpr,
    ATOMIC: tl.constexpr,
    PRECISION: tl.constexpr,
    EMU: tl.constexpr,
):
    start = tl.program_id(0) * BN
    columns = start + tl.arange(0, BN)
    there = columns < N
    vectors = tile_of(VECTORS, start, N, D, BN, BD, True, EMU)
    offset = entries(OFFSET, columns, N, 0.0, True) if CORRECTED else 0.0
    back_lse = entries(COLUMN_LSE, columns, N, 0.0, True) if SYMMETRIC else 0.0
    back_gradient = entries(COLUMN_GRADIENT, columns, N, 0.0, True) if SYMMETRIC else 0.0
    total = tl.zeros([BN, BD], tl.float32)
    first = tl.min(entries(LOW, columns, N, 2147483647, True))
    last = tl.max(entries(HIGH, columns, N, 0, True))
    whole, low, high = special(first, last, B, BM)
    for i in range(0, whole - (high - low)):
        tile = tl.where(i < low, i, i + high - low)
        total = _vectors_tile(
            vectors, there, columns, offset, back_lse, back_gradient, total, tile * BM,
            QUERY, ROW_SCALE, FIRST, LAST, LSE, GRADIENT, ROW_FACTOR, ROW_PLACE, OUT_QUERY, B,
            D, BM, BD, CORRECTED, SYMMETRIC, ATOMIC, False, PRECISION, EMU,
        )  # fmt: skip
    for i in range(0, high - low + tl.cdiv(B, BM) - whole):
        tile = tl.where(i < high - low, low + i, whole)
        total = _vectors_tile(
            vectors, there, columns, offset, back_lse, back_gradient, total, tile * BM,
            QUERY, ROW_SCALE, FIRST, LAST, LSE, GRADIENT, ROW_FACTOR, ROW_PLACE, OUT_QUERY, B,
            D, BM, BD, CORRECTED, SYMMETRIC, ATOMIC, True, PRECISION, EMU,
        )  # fmt: skip
    place = entries(PLACE, columns, N, 0, True).to(tl.int64)
    parts = tl.arange(0, BD)
    inside = there[:, None] & (parts < D)[None, :]
    tl.store(OUT + place[:, None] * D + parts[None, :], total * tl.load(FACTOR), mask=inside)


@triton.jit
def _vectors_tile(
    vectors, there, columns, offset, back_lse, back_gradient, total, start,
    QUERY, ROW_SCALE, FIRST, LAST, LSE, GRADIENT, ROW_FACTOR, ROW_PLACE, OUT_QUERY, B,
    D: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr, CORRECTED: tl.constexpr, SYMMETRIC: tl.constexpr,
    ATOMIC: tl.constexpr, EDGE: tl.constexpr, PRECISION: tl.constexpr, EMU: tl.constexpr,
):  # fmt: skip
    """One tile of rows more in the columns' sums; its logits are [BN, BM], so that neither product transposes shares."""
    rows = start + tl.arange(0, BM)
    query = tile_of(QUERY, start, B, D, BM, BD, EDGE, EMU)
    scale = entries(ROW_SCALE, rows, B, 0.0, EDGE)
    score = tl.dot(vectors, tl.trans(query), input_precision=PRECISION) * scale[None, :]
    logit = score
    if CORRECTED:
        logit = logit + offset[:, None]
    logit -= entries(LSE, rows, B, 0.0, EDGE)[None, :]
    if EDGE:
        first, last = entries(FIRST, rows, B, 0, EDGE), entries(LAST, rows, B, 2147483647, EDGE)  # past B all is closed
        closed = (columns[:, None] >= first[None, :]) & (columns[:, None] < last[None, :])
        logit = tl.where(closed, float("-inf"), logit)
        score = tl.where(closed, float("-inf"), score)
    share = tl.exp2(logit)
    if SYMMETRIC:
        back = tl.exp2(score - back_lse[:, None]) * back_gradient[:, None]
        share = share * entries(GRADIENT, rows, B, 0.0, EDGE)[None, :] + back
    if ATOMIC:  # columns past N are copies of the last one: nobody stores their sums, but rows would add them
        share = tl.where(there[:, None], share, 0.0)
    share = rounded(share, QUERY.dtype.element_ty, EMU)
    if ATOMIC:
        parts = tl.arange(0, BD)
        of_query = tl.dot(tl.trans(share), vectors, input_precision=PRECISION)
        of_query = of_query * entries(ROW_FACTOR, rows, B, 0.0, EDGE)[:, None]
        place = entries(ROW_PLACE, rows, B, 0, EDGE).to(tl.int64)
        inside = (rows < B)[:, None] & (parts < D)[None, :]
        tl.atomic_add(OUT_QUERY + place[:, None] * D + parts[None, :], of_query, mask=inside, sem="relaxed")
    return tl.dot(share, query, total, input_precision=PRECISION)
