"""The forward pass in both directions at once: a program walks over several blocks of rows and keeps the columns' sums."""

from __future__ import annotations

import triton
import triton.language as tl

from kernels.infonce.tiles import entries, special, tile_of


@triton.jit
def symmetric_kernel(
    QUERY,  # [B, D], rows and columns in the order of their hits
    VECTORS,  # [N, D]
    SCALE,  # [] log2(e) / temperature
    OFFSET,  # [N] bits: minus log_q
    FIRST,  # [B] int32, as in the forward pass
    LAST,  # [B] int32
    RIVALS,  # [B] out, nats
    BEST,  # [B] out, nats
    EFFECTIVE,  # [B] out
    PART_BEST,  # [P, N] bits, -inf at first: a program's maximum over its rows
    PART_SUM,  # [P, N] 0 at first: its sum of exp2(score - that maximum)
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
    program = tl.program_id(0)
    scale = tl.load(SCALE)
    PART_BEST += program.to(tl.int64) * N
    PART_SUM += program.to(tl.int64) * N
    for block in range(program, tl.cdiv(B, BM), tl.num_programs(0)):
        start = block * BM
        rows = start + tl.arange(0, BM)
        inside = rows < B
        query = tile_of(QUERY, start, B, D, BM, BD, True, EMU)
        first = entries(FIRST, rows, B, 2147483647, True)
        last = entries(LAST, rows, B, 0, True)
        silent = tl.where(
            inside, 0.0, float("-inf")
        )  # rows past B are copies of the last one, no column may count them
        best = tl.full([BM], float("-inf"), tl.float32)
        total = tl.zeros([BM], tl.float32)
        square = tl.zeros([BM], tl.float32)
        whole, low, high = special(tl.min(first), tl.max(last), N, BN)
        for i in range(0, whole - (high - low)):
            tile = tl.where(i < low, i, i + high - low)
            best, total, square = _add_tile(
                query, first, last, silent, scale, best, total, square, tile * BN, VECTORS, OFFSET,
                PART_BEST, PART_SUM, N, D, BN, BD, CORRECTED, False, PRECISION, EMU,
            )  # fmt: skip
        for i in range(0, high - low + tl.cdiv(N, BN) - whole):
            tile = tl.where(i < high - low, low + i, whole)
            best, total, square = _add_tile(
                query, first, last, silent, scale, best, total, square, tile * BN, VECTORS, OFFSET,
                PART_BEST, PART_SUM, N, D, BN, BD, CORRECTED, True, PRECISION, EMU,
            )  # fmt: skip
        shift = tl.where(best == float("-inf"), 0.0, best)
        tl.store(RIVALS + rows, (shift + tl.log2(total)) * 0.6931471805599453, mask=inside)
        tl.store(BEST + rows, best * 0.6931471805599453, mask=inside)
        tl.store(EFFECTIVE + rows, tl.where(total == 0.0, 0.0, total * (total / square)), mask=inside)
        tl.debug_barrier()  # the next block of rows reads the columns' sums that this one wrote


@triton.jit
def _add_tile(
    query, first, last, silent, scale, best, total, square, start, VECTORS, OFFSET, PART_BEST, PART_SUM, N,
    D: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr, CORRECTED: tl.constexpr,
    EDGE: tl.constexpr, PRECISION: tl.constexpr, EMU: tl.constexpr,
):  # fmt: skip
    """One tile of columns more in the rows' sums, and these rows in the sums of the tile's columns."""
    columns = start + tl.arange(0, BN)
    past_best = entries(PART_BEST, columns, N, 0.0, EDGE)
    past_sum = entries(PART_SUM, columns, N, 0.0, EDGE)
    vectors = tile_of(VECTORS, start, N, D, BN, BD, EDGE, EMU)
    score = tl.dot(query, tl.trans(vectors), input_precision=PRECISION) * scale + silent[:, None]
    if EDGE:
        closed = (columns[None, :] >= first[:, None]) & (columns[None, :] < last[:, None]) | (columns >= N)[None, :]
        score = tl.where(closed, float("-inf"), score)

    column_best = tl.maximum(past_best, tl.max(score, 0))
    column_shift = tl.where(column_best == float("-inf"), 0.0, column_best)
    column_sum = past_sum * tl.exp2(past_best - column_shift) + tl.sum(tl.exp2(score - column_shift[None, :]), 0)
    if EDGE:
        tl.store(PART_BEST + columns, column_best, mask=columns < N)
        tl.store(PART_SUM + columns, column_sum, mask=columns < N)
    else:
        tl.store(PART_BEST + columns, column_best)
        tl.store(PART_SUM + columns, column_sum)

    logit = score + entries(OFFSET, columns, N, 0.0, EDGE)[None, :] if CORRECTED else score
    top = tl.maximum(best, tl.max(logit, 1))
    shift = tl.where(top == float("-inf"), 0.0, top)
    share = tl.exp2(logit - shift[:, None])
    fade = tl.exp2(best - shift)
    return top, total * fade + tl.sum(share, 1), square * (fade * fade) + tl.sum(share * share, 1)
