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
    QUERY,  # [B, D]
    VECTORS,  # [N, D]
    SCALE,  # [] log2(e) / temperature
    OFFSET,  # [N] bits: minus log_q
    ROW,  # [B] int32, as in the forward pass
    CODE,  # [N] int32
    LSE,  # [B] bits: the rivals' log sum exp, +inf where there is none
    GRADIENT,  # [B] of the rivals; read with SYMMETRIC
    FACTOR,  # [B] what is left to multiply a row's sum with
    COLUMN_LSE,  # [N] bits, with SYMMETRIC
    COLUMN_GRADIENT,  # [N]
    OUT,  # [B, D] float32
    B,
    N,
    D: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    CORRECTED: tl.constexpr,
    NAMED: tl.constexpr,
    SYMMETRIC: tl.constexpr,
    PRECISION: tl.constexpr,
    EMU: tl.constexpr,
):
    start = tl.program_id(0) * BM
    rows = start + tl.arange(0, BM)
    query = tile_of(QUERY, start, B, D, BM, BD, True, EMU)
    own = tl.load(ROW + rows, mask=rows < B, other=-1)
    lse = tl.load(LSE + rows, mask=rows < B, other=float("inf"))
    gradient = lse
    if SYMMETRIC:
        gradient = tl.load(GRADIENT + rows, mask=rows < B, other=0.0)
    scale = tl.load(SCALE)
    total = tl.zeros([BM, BD], tl.float32)
    low, high = N, 0
    if not NAMED:
        low = tl.min(tl.where(own < 0, N, own))
        high = tl.max(own) + 1
    whole, first, last = special(low, high, N, BN)
    for i in range(0, whole - (last - first)):
        tile = tl.where(i < first, i, i + last - first)
        total = _query_tile(
            query, own, lse, gradient, scale, total, tile, VECTORS, OFFSET, CODE, COLUMN_LSE, COLUMN_GRADIENT, N,
            D, BN, BD, CORRECTED, NAMED, SYMMETRIC, False, PRECISION, EMU,
        )
    for i in range(0, last - first + tl.cdiv(N, BN) - whole):
        tile = tl.where(i < last - first, first + i, whole)
        total = _query_tile(
            query, own, lse, gradient, scale, total, tile, VECTORS, OFFSET, CODE, COLUMN_LSE, COLUMN_GRADIENT, N,
            D, BN, BD, CORRECTED, NAMED, SYMMETRIC, True, PRECISION, EMU,
        )
    factor = tl.load(FACTOR + rows, mask=rows < B, other=0.0)
    places = tl.arange(0, BD)
    pointers = OUT + start.to(tl.int64) * D + tl.arange(0, BM)[:, None] * D + places[None, :]
    tl.store(pointers, total * factor[:, None], mask=(rows < B)[:, None] & (places < D)[None, :])


@triton.jit
def _query_tile(
    query, own, lse, gradient, scale, total, tile, VECTORS, OFFSET, CODE, COLUMN_LSE, COLUMN_GRADIENT, N,
    D: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, CORRECTED: tl.constexpr, NAMED: tl.constexpr,
    SYMMETRIC: tl.constexpr, EDGE: tl.constexpr, PRECISION: tl.constexpr, EMU: tl.constexpr,
):
    start = tile * BN
    columns = start + tl.arange(0, BN)
    vectors = tile_of(VECTORS, start, N, D, BN, BD, EDGE, EMU)
    score = tl.dot(query, tl.trans(vectors), input_precision=PRECISION) * scale
    logit = score
    if CORRECTED:
        logit = logit + entries(OFFSET, columns, N, 0.0, EDGE)[None, :]
    logit -= lse[:, None]
    if NAMED or EDGE:  # closed before exp2: after it the compiler picks zeros among packed halves, 1.3 instructions a logit
        code = entries(CODE, columns, N, -2, EDGE) if NAMED else columns
        closed = own[:, None] == code[None, :]
        if EDGE:
            closed = closed | (columns >= N)[None, :]
        logit = tl.where(closed, float("-inf"), logit)
        score = tl.where(closed, float("-inf"), score)
    share = tl.exp2(logit)
    if SYMMETRIC:
        back = tl.exp2(score - entries(COLUMN_LSE, columns, N, 0.0, EDGE)[None, :])
        share = share * gradient[:, None] + back * entries(COLUMN_GRADIENT, columns, N, 0.0, EDGE)[None, :]
    return tl.dot(rounded(share, VECTORS.dtype.element_ty, EMU), vectors, total, input_precision=PRECISION)


@triton.jit
def vectors_kernel(
    QUERY,  # [B, D] times the sign of the row's gradient
    VECTORS,  # [N, D]
    ROW_SCALE,  # [B] log2(e) / temperature times that sign
    OFFSET,  # [N] bits: minus log_q
    ROW,  # [B] int32, as in the forward pass
    CODE,  # [N] int32
    LSE,  # [B] bits: the rivals' log sum exp, less log2 of the gradient unless SYMMETRIC; +inf where that is nothing
    GRADIENT,  # [B] of the rivals; read with SYMMETRIC
    COLUMN_LSE,  # [N] bits, with SYMMETRIC
    COLUMN_GRADIENT,  # [N]
    LOW,  # [N] int32: the first row whose positive a column is, B for none; read without NAMED
    HIGH,  # [N] int32: one past the last such row, 0 for none
    FACTOR,  # [] what is left to multiply a column's sum with
    OUT,  # [N, D] float32
    ROW_FACTOR,  # [B] and of a row's sum, with ATOMIC
    OUT_QUERY,  # [B, D] float32, zero at first, with ATOMIC
    B,
    N,
    D: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BD: tl.constexpr,
    CORRECTED: tl.constexpr,
    NAMED: tl.constexpr,
    SYMMETRIC: tl.constexpr,
    ATOMIC: tl.constexpr,
    PRECISION: tl.constexpr,
    EMU: tl.constexpr,
):
    start = tl.program_id(0) * BN
    columns = start + tl.arange(0, BN)
    there = columns < N
    vectors = tile_of(VECTORS, start, N, D, BN, BD, True, EMU)
    offset = tl.load(OFFSET + columns, mask=there, other=0.0) if CORRECTED else 0.0
    code = tl.load(CODE + columns, mask=there, other=-2) if NAMED else columns
    back_lse, back_gradient = 0.0, 0.0
    if SYMMETRIC:
        back_lse = tl.load(COLUMN_LSE + columns, mask=there, other=0.0)
        back_gradient = tl.load(COLUMN_GRADIENT + columns, mask=there, other=0.0)
    total = tl.zeros([BN, BD], tl.float32)
    low, high = B, 0
    if not NAMED:
        low = tl.min(tl.load(LOW + columns, mask=there, other=2147483647))
        high = tl.max(tl.load(HIGH + columns, mask=there, other=0))
    whole, first, last = special(low, high, B, BM)
    for i in range(0, whole - (last - first)):
        tile = tl.where(i < first, i, i + last - first)
        total = _vectors_tile(
            vectors, there, offset, code, back_lse, back_gradient, total, tile,
            QUERY, ROW_SCALE, ROW, LSE, GRADIENT, ROW_FACTOR, OUT_QUERY, B,
            D, BM, BD, CORRECTED, NAMED, SYMMETRIC, ATOMIC, False, PRECISION, EMU,
        )
    for i in range(0, last - first + tl.cdiv(B, BM) - whole):
        tile = tl.where(i < last - first, first + i, whole)
        total = _vectors_tile(
            vectors, there, offset, code, back_lse, back_gradient, total, tile,
            QUERY, ROW_SCALE, ROW, LSE, GRADIENT, ROW_FACTOR, OUT_QUERY, B,
            D, BM, BD, CORRECTED, NAMED, SYMMETRIC, ATOMIC, True, PRECISION, EMU,
        )
    places = tl.arange(0, BD)
    pointers = OUT + start.to(tl.int64) * D + tl.arange(0, BN)[:, None] * D + places[None, :]
    tl.store(pointers, total * tl.load(FACTOR), mask=there[:, None] & (places < D)[None, :])


@triton.jit
def _vectors_tile(
    vectors, there, offset, code, back_lse, back_gradient, total, tile,
    QUERY, ROW_SCALE, ROW, LSE, GRADIENT, ROW_FACTOR, OUT_QUERY, B,
    D: tl.constexpr, BM: tl.constexpr, BD: tl.constexpr, CORRECTED: tl.constexpr, NAMED: tl.constexpr,
    SYMMETRIC: tl.constexpr, ATOMIC: tl.constexpr, EDGE: tl.constexpr, PRECISION: tl.constexpr, EMU: tl.constexpr,
):
    """One tile of rows more in the columns' sums; its logits are [BN, BM], so that both products are without transposing."""
    start = tile * BM
    rows = start + tl.arange(0, BM)
    query = tile_of(QUERY, start, B, D, BM, BD, EDGE, EMU)
    lse = entries(LSE, rows, B, 0.0, EDGE)
    score = tl.dot(vectors, tl.trans(query), input_precision=PRECISION) * entries(ROW_SCALE, rows, B, 0.0, EDGE)[None, :]
    logit = score
    if CORRECTED:
        logit = logit + offset[:, None]
    logit -= lse[None, :]
    if NAMED or EDGE:
        closed = code[:, None] == entries(ROW, rows, B, -1, EDGE)[None, :]
        if EDGE:
            closed = closed | (rows >= B)[None, :]
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
        places = tl.arange(0, BD)
        of_query = tl.dot(tl.trans(share), vectors, input_precision=PRECISION)
        of_query = of_query * entries(ROW_FACTOR, rows, B, 0.0, EDGE)[:, None]
        pointers = OUT_QUERY + start.to(tl.int64) * D + tl.arange(0, BM)[:, None] * D + places[None, :]
        tl.atomic_add(pointers, of_query, mask=(rows < B)[:, None] & (places < D)[None, :], sem="relaxed")
    return tl.dot(share, query, total, input_precision=PRECISION)
