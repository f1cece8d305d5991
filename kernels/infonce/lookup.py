"""What the masked hits would have weighed: a row's hits are looked up in the sorted order of the ids, not searched for."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def hits_kernel(
    QUERY,  # [B, D], rows and columns in the order of their hits
    VECTORS,  # [N, D]
    SCALE,  # [] log2(e) / temperature
    OFFSET,  # [N] bits: minus log_q
    FIRST,  # [B] int32: a row's hits are the columns from FIRST on
    LAST,  # [B] int32: to before LAST
    OWN,  # [B] int32: the positive's column, which doesn't count; -1 for none
    HITS,  # [B] out, nats: their log sum exp
    BEST,  # [B] out, nats
    B,
    D: tl.constexpr,
    BM: tl.constexpr,
    BD: tl.constexpr,
    CORRECTED: tl.constexpr,
):
    rows = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = rows < B
    parts = tl.arange(0, BD)
    wide = (parts < D)[None, :]
    query = tl.load(QUERY + rows.to(tl.int64)[:, None] * D + parts[None, :], mask=inside[:, None] & wide, other=0.0)
    query = query.to(tl.float32)
    own = tl.load(OWN + rows, mask=inside, other=-1)
    first = tl.load(FIRST + rows, mask=inside, other=0)
    last = tl.load(LAST + rows, mask=inside, other=0)
    scale = tl.load(SCALE)
    best = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    for k in range(0, tl.max(last - first)):
        column = first + k
        present = column < last
        pointers = VECTORS + column.to(tl.int64)[:, None] * D + parts[None, :]
        vectors = tl.load(pointers, mask=present[:, None] & wide, other=0.0).to(tl.float32)
        logit = tl.sum(query * vectors, 1) * scale
        if CORRECTED:
            logit += tl.load(OFFSET + column, mask=present, other=0.0)
        logit = tl.where(present & (column != own), logit, float("-inf"))
        top = tl.maximum(best, logit)
        shift = tl.where(top == float("-inf"), 0.0, top)
        total = total * tl.exp2(best - shift) + tl.exp2(logit - shift)
        best = top
    shift = tl.where(best == float("-inf"), 0.0, best)
    tl.store(HITS + rows, (shift + tl.log2(total)) * 0.6931471805599453, mask=inside)
    tl.store(BEST + rows, best * 0.6931471805599453, mask=inside)
