"""Sampled softmax: the positive against the other items on offer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.candidates import Candidates
from recsys.value import value


def scores_of(query: Tensor, vectors: Tensor) -> Tensor:
    """Inner products [B, N] in float32 also under autocast: bfloat16 can't tell neighbouring items apart."""
    with torch.autocast(query.device.type, enabled=False):
        return query.float() @ vectors.float().T if query.dtype != torch.float64 else query @ vectors.T


def hits_of(pool: Candidates, target: Tensor) -> Tensor:
    """Where the pool holds the target's item, [B, N], the target's own place included."""
    return pool.ids[target][:, None] == pool.ids


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
        """[B] losses of query [B, D] (divided by the temperature), pool of N, target [B] places in the pool."""
        scores = scores_of(query, pool.vectors)  # [B, N]
        hits = hits_of(pool, target)
        places = torch.arange(target.shape[0], device=target.device)
        wanted = scores[places, target]  # [B]
        if self.corrected:
            wanted = wanted - _target_log_q(pool, target, hits)
        excluded = torch.isinf(pool.log_q) & (pool.log_q > 0)
        rivals = scores - pool.log_q.masked_fill(excluded, 0) if self.corrected else scores
        closed = hits | excluded if self.mask_hits else excluded.expand_as(hits)
        own = torch.zeros_like(hits)
        own[places, target] = True
        rivals = rivals.masked_fill(closed | own, -torch.inf)
        everyone = torch.cat([wanted[:, None], rivals], dim=1)  # [B, 1 + N]
        loss = everyone.logsumexp(1) - wanted
        return (loss + self._of_items(scores, hits, target)) / 2 if self.symmetric else loss

    def _of_items(self, scores: Tensor, hits: Tensor, target: Tensor) -> Tensor:
        logits = scores[:, target].T  # [B items, B queries]
        same = hits[:, target].T
        if self.mask_hits:
            others = same & ~torch.eye(len(target), dtype=torch.bool, device=target.device)
            logits = logits.masked_fill(others, -torch.inf)
        return F.cross_entropy(logits, torch.arange(len(target), device=target.device), reduction="none")


def _target_log_q(pool: Candidates, target: Tensor, hits: Tensor) -> Tensor:
    """[B]; where the target's own place says that it competes elsewhere, the log_q of that other place."""
    own = pool.log_q[target]
    absent = torch.isinf(own) & (own > 0)
    if not bool(absent.any()):
        return own
    least = pool.log_q.expand_as(hits).masked_fill(~hits, torch.inf).amin(1)
    return torch.where(absent, least.masked_fill(torch.isinf(least), 0), own)
