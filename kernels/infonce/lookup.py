"""What the masked hits would have weighed: a row's hits are looked up in the sorted order of the ids, not searched for."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def hits_kernel(
    QUERY,  # [B, D]
    VECTORS,  # [N, D]
    SCALE,  # [] log2(e) / temperature
    OFFSET,  # [N] bits: minus log_q
    TARGET,  # [B] int64, the positives' columns, which don't count; -1 for none
    START,  # [B] int32: a row's hits are ORDER[START : START + COUNT]
    COUNT,  # [B] int32
    ORDER,  # [N] int32
    HITS,  # [B] out, nats: their log sum exp
    BEST,  # [B] out, nats
    B,
    D: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    CORRECTED: tl.constexpr,
    EMU: tl.constexpr,
):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = rows < B
    places = tl.arange(0, BD)
    wide = (places < D)[None, :]
    offsets = rows.to(tl.int64)[:, None] * D + places[None, :]
    query = tl.load(QUERY + offsets, mask=inside[:, None] & wide, other=0.0).to(tl.float32)
    target = tl.load(TARGET + rows, mask=inside, other=-1)
    start = tl.load(START + rows, mask=inside, other=0)
    count = tl.load(COUNT + rows, mask=inside, other=0)
    scale = tl.load(SCALE)
    best = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    for k in range(0, tl.max(count)):
        present = k < count
        column = tl.load(ORDER + start + k, mask=present, other=0).to(tl.int64)
        pointers = VECTORS + column[:, None] * D + places[None, :]
        vectors = tl.load(pointers, mask=present[:, None] & wide, other=0.0).to(tl.float32)
        logit = tl.sum(query * vectors, 1) * scale
        if CORRECTED:
            logit += tl.load(OFFSET + column, mask=present, other=0.0)
        logit = tl.where(present & (column != target), logit, float("-inf"))
        top = tl.maximum(best, logit)
        shift = tl.where(top == float("-inf"), 0.0, top)
        total = total * tl.exp2(best - shift) + tl.exp2(logit - shift)
        best = top
    shift = tl.where(best == float("-inf"), 0.0, best)
    tl.store(HITS + rows, (shift + tl.log2(total)) * 0.6931471805599453, mask=inside)
    tl.store(BEST + rows, best * 0.6931471805599453, mask=inside)
