"""InfoNCE over a pool of columns, never with B x N logits in memory: corrected, masked by id, weighted, both ways."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.infonce import check, reference
from kernels.infonce.assemble import guess, implementation, inside, least, own_log_q, rows, scale_of, weighted
from kernels.infonce.hits import by_id, by_place
from kernels.infonce.multi import infonce_multi
from kernels.infonce.op import scan
from kernels.infonce.problem import Problem, full
from kernels.infonce.reference import InfoNCEOutput, cost
from kernels.infonce.ring import infonce_ring

__all__ = ["InfoNCEOutput", "infonce", "infonce_multi", "infonce_ring"]


def infonce(
    query: Tensor,
    vectors: Tensor,
    target: Tensor,
    *,
    log_q: Tensor | None = None,
    ids: Tensor | None = None,
    temperature: float | Tensor,
    weight: Tensor | None = None,
    positive_mode: str = "sampled",
    mask_hits: bool = True,
    symmetric: bool = False,
    impl: str = "auto",
) -> InfoNCEOutput:
    """A row's loss is minus the log of its positive's share in the softmax over the positive and its rivals.

    query [B, D], vectors [N, D], target [B] int64: the positives' columns. The logit of column n in row b is
    query[b] . vectors[n] / temperature - log_q[n]. Rivals of row b are all columns but its positive, its hits (columns
    whose id is the positive's, with `mask_hits`) and those with log_q = +inf, which compete nowhere. A row without
    rivals has loss 0 and no gradient. The van den Oord et al. 2018 loss; log_q after Bengio and Senécal 2008.

    log_q [N] is the log of how often a column is to be expected in the pool; it gets no gradient. A positive whose own
    log_q is +inf is corrected like its copy with the least log_q, and not at all without a copy. positive_mode
    "sampled" corrects the positive like any column; "corrected" (arXiv 2507.09331) doesn't: the loss is w * (log sum exp
    of the rivals - the positive's logit), where w = 1 - the positive's share is held constant in the gradient.
    ids [N] int64 name the columns. temperature is a number or a 0-d tensor, which may want its gradient; weight [B]
    multiplies the losses and may too.
    symmetric averages with the loss of choosing the query for the positive's column among the rows, without log_q and
    without rows whose positive is the same column or has the same id; columns that are nobody's positive have none.
    impl: "triton" ("triton-atomic" with a backward pass that is one kernel and not deterministic), "chunked",
    "reference", or "auto": triton for bfloat16 and float16 on a GPU up to D = 256, else chunked. Only the reference has
    second derivatives.

    Raises ValueError for shapes, dtypes and devices that don't fit and for a temperature that isn't positive, IndexError
    for targets outside the pool; on a device, where looking would be a wait, such rows are NaN instead.
    """
    check.check_all(query, vectors, target, log_q, ids, weight)
    check.check_modes(temperature, positive_mode, query)
    impl = implementation(impl, query, vectors)
    target, poison = inside(target, len(vectors))
    if impl == "reference":
        modes = {"positive_mode": positive_mode, "mask_hits": mask_hits, "symmetric": symmetric}
        with torch.autocast(query.device.type, enabled=False):
            found = reference.infonce(
                query, vectors, target, log_q=log_q, ids=ids, temperature=temperature, weight=weight, **modes
            )
        return found._replace(loss=found.loss * (1 + poison), lse=found.lse * (1 + poison))
    named = None if ids is None else by_id(ids[target], ids)
    hits = by_place(target, len(vectors)) if named is None or not mask_hits else named
    scale, log_q = scale_of(temperature, query), None if log_q is None else log_q.to(full(query.dtype))
    elsewhere = None if log_q is None or named is None else least(log_q, named)
    offset = own_log_q(log_q, target, elsewhere) if positive_mode == "sampled" else None
    problem = Problem(query, vectors, scale, log_q, target, hits, hits is named, symmetric)
    raw, found = scan(problem, impl, guess(problem, offset, weight))
    raw = raw + poison
    output = rows(raw, found, offset, positive_mode)
    if symmetric:
        output = output._replace(loss=(output.loss + cost(found.columns[target] - raw, "sampled")) / 2)
    return weighted(output, weight)
