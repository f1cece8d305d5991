"""Sampled softmax: the positive against the other items on offer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.candidates import Candidates
from recsys.value import value

BLOCK = {"cpu": 2**19}  # scores held at once: what a core's cache takes, or what a GPU is busy with
LARGE_BLOCK, FEWEST_ROWS = 2**26, 64


@value
class SampledSoftmax:
    """Cross entropy over the pool; with log_q subtracted it estimates that over the whole catalogue.

    Bengio and Senécal 2008; Yi et al. 2019 for in-batch negatives. `mask_hits` leaves out the other copies of the
    target in the pool. `symmetric` averages with the loss of choosing the query for the item, over the batch's
    queries (Radford et al. 2021); that side isn't corrected, since how often a query occurs isn't known.
    """

    corrected: bool = True
    mask_hits: bool = True
    symmetric: bool = False

    def __call__(self, query: Tensor, pool: Candidates, target: Tensor) -> Tensor:
        """[B] losses of query [B, D] (divided by the temperature), pool of N, target [B] places in the pool.

        Memory is of the order of B + N: the scores [B, N] are made in blocks of rows, and once more for the gradient.
        """
        with torch.autocast(query.device.type, enabled=False):
            query, vectors = in_full(query), in_full(pool.vectors)
            wanted = (query * vectors[target]).sum(1)  # [B]
            loss = self._of_queries(query, vectors, pool, target, wanted)
            return (loss + self._of_items(query, vectors, pool, target, wanted)) / 2 if self.symmetric else loss

    def _of_queries(self, query: Tensor, vectors: Tensor, pool: Candidates, target: Tensor, wanted: Tensor) -> Tensor:
        if self.corrected:
            log_q, own = pool.log_q, wanted - _target_log_q(pool, target)
        else:
            log_q, own = pool.log_q.new_zeros(len(pool)).masked_fill(absent(pool.log_q), torch.inf), wanted
        rivals = _Rivals.apply(query, vectors, log_q, target, self._kinds(pool.ids[target]), pool.ids)
        return F.softplus(rivals - own)  # type: ignore[operator]

    def _of_items(self, query: Tensor, vectors: Tensor, pool: Candidates, target: Tensor, wanted: Tensor) -> Tensor:
        ids, places = pool.ids[target], torch.arange(len(target), device=target.device)
        rivals = _Rivals.apply(vectors[target], query, query.new_zeros(len(query)), places, self._kinds(ids), ids)
        return F.softplus(rivals - wanted)  # type: ignore[operator]

    def _kinds(self, ids: Tensor) -> Tensor:
        return ids if self.mask_hits else torch.full_like(ids, -1)


class _Rivals(torch.autograd.Function):
    """log sum exp of the rivals' logits, [B] of query [B, D], vectors [N, D], log_q [N]; -inf where there is none.

    Not a rival of row b: the column own[b], columns whose id is kind[b], and columns whose log_q is +inf.
    """

    @staticmethod
    def forward(ctx, query, vectors, log_q, own, kind, ids):  # type: ignore[override]  # noqa: PLR0913
        ctx.save_for_backward(query, vectors, log_q, own, kind, ids)
        ctx.total = query.new_empty(len(query))
        for block, logits in _logits(query, vectors, log_q, (own, kind, ids)):
            ctx.total[block] = logits.logsumexp(1)
        return ctx.total.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):  # type: ignore[override]
        query, vectors, log_q, own, kind, ids = ctx.saved_tensors
        total = ctx.total.clamp(min=torch.finfo(query.dtype).min)  # finite, so that a row without rivals has share 0
        of_query, of_vectors = torch.empty_like(query), torch.zeros_like(vectors)
        for block, logits in _logits(query, vectors, log_q, (own, kind, ids)):
            share = logits.sub_(total[block, None]).exp_().mul_(gradient[block, None])
            of_query[block] = share @ vectors
            of_vectors.addmm_(share.T, query[block])
        return of_query, of_vectors, None, None, None, None


def _logits(
    query: Tensor, vectors: Tensor, log_q: Tensor, closing: tuple[Tensor, Tensor, Tensor]
) -> Iterator[tuple[slice, Tensor]]:
    own, kind, ids = closing
    offset = -log_q.to(query.dtype)
    for block in blocks(query, len(vectors)):
        logits = torch.addmm(offset, query[block], vectors.T)  # [b, N]
        logits.masked_fill_(kind[block, None] == ids, -torch.inf)
        logits.scatter_(1, own[block, None], -torch.inf)
        yield block, logits


def blocks(query: Tensor, columns: int) -> Iterator[slice]:
    """Slices of the queries such that a slice's scores with all columns are handled at once."""
    rows = max(FEWEST_ROWS, BLOCK.get(query.device.type, LARGE_BLOCK) // max(1, columns))
    for start in range(0, len(query), rows):
        yield slice(start, start + rows)


def in_full(tensor: Tensor) -> Tensor:
    """At least float32, also under autocast: bfloat16 can't tell neighbouring items apart."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def absent(log_q: Tensor) -> Tensor:
    """Where an item competes at another place."""
    return log_q.isinf() & (log_q > 0)


def _target_log_q(pool: Candidates, target: Tensor) -> Tensor:
    """[B]; where the target's own place says that it competes elsewhere, the log_q of that other place, 0 if none."""
    order = pool.log_q.argsort()
    order = order[pool.ids[order].argsort(stable=True)]  # by id, then log_q
    first = torch.searchsorted(pool.ids[order], pool.ids[target])
    least = pool.log_q[order][first]
    own = pool.log_q[target]
    return torch.where(absent(own), least.masked_fill(absent(least), 0), own)
