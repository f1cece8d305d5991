"""A row may have several positives: then it is told which of the columns' ids is its own."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.infonce import check, reference
from kernels.infonce.assemble import implementation, scale_of, weighted
from kernels.infonce.hits import Hits, by_id
from kernels.infonce.op import scan
from kernels.infonce.problem import Problem, full
from kernels.infonce.reference import InfoNCEOutput


def infonce_multi(
    query: Tensor,
    vectors: Tensor,
    group: Tensor,
    *,
    ids: Tensor,
    log_q: Tensor | None = None,
    temperature: float | Tensor,
    weight: Tensor | None = None,
    impl: str = "auto",
) -> InfoNCEOutput:
    """The mean, over a row's positives, of minus the log of their shares in the softmax over all columns.

    The outer form of supervised contrastive learning (Khosla et al. 2020): query [B, D], vectors [N, D], group [B] and
    ids [N] int64; the positives of row b are the columns with ids equal to group[b] and log_q below +inf. A row without
    a positive has loss 0. A column of the row itself is to be left out by log_q = +inf or by not being in the pool.
    accuracy says whether the best column is a positive, effective_negatives counts the others, masked_mass is 0. Memory
    is of the order of B + N, since the positives enter by their mean vector. Raises as `infonce` does.
    """
    check.check_embeddings(query, vectors)
    check.check_vector("group", group, len(query), query, whole=True)
    check.check_vector("ids", ids, len(vectors), query, whole=True)
    check.check_vector("log_q", log_q, len(vectors), query)
    check.check_vector("weight", weight, len(query), query)
    check.check_constant("log_q", log_q)
    check.check_temperature(temperature, query)
    impl = implementation(impl, query, vectors)
    if impl == "reference":
        return reference.infonce_multi(
            query, vectors, group, ids=ids, log_q=log_q, temperature=temperature, weight=weight
        )
    log_q = query.new_zeros(len(vectors), dtype=full(query.dtype)) if log_q is None else log_q.to(full(query.dtype))
    scale, hits, nobody = scale_of(temperature, query), by_id(group, ids), torch.full_like(group, -1)
    mean, offset, count = _positives(vectors, log_q, hits)
    _, found = scan(Problem(query, vectors, scale, log_q, nobody, hits, True, False), impl, whole=True)
    own = (query.to(mean.dtype) * mean).sum(1) * scale - offset
    loss = (found.rivals - own).masked_fill(count == 0, 0)
    right = (found.best_hit > found.best).to(loss.dtype).masked_fill(found.rivals.isnan(), torch.nan)
    diagnostics = (right.detach(), found.effective.detach(), torch.zeros_like(loss))
    return weighted(InfoNCEOutput(loss, found.rivals, *diagnostics), weight)


def _positives(vectors: Tensor, log_q: Tensor, hits: Hits) -> tuple[Tensor, Tensor, Tensor]:
    """[B, D] mean vector, [B] mean log_q and [B] number of the columns that are a row's positives."""
    present = ~log_q.isposinf()
    code = (hits.code.long(),)
    counts = torch.zeros_like(log_q).index_put(code, present.to(log_q.dtype), accumulate=True)  # [N] by code
    offsets = torch.zeros_like(log_q).index_put(code, log_q.masked_fill(~present, 0), accumulate=True)
    shown = vectors.to(log_q.dtype) * present[:, None]
    sums = torch.zeros_like(shown).index_put(code, shown, accumulate=True)
    start = hits.start.long().clamp(min=0)
    count = counts[start].masked_fill(hits.start < 0, 0)
    least = count.clamp(min=1)
    return sums[start] / least[:, None], offsets[start] / least, count
