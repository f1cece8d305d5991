"""Bayesian personalised ranking: the positive above each of the other items on offer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recsys.candidates import Candidates
from recsys.losses.softmax import absent, blocks, in_full
from recsys.value import value


@value
class BPR:
    """Minus the log probability that the positive beats a rival, averaged over the rivals (Rendle et al. 2009).

    Copies of the target are no rivals. log_q isn't used: the pairs are as frequent as the source makes them.
    """

    def __call__(self, query: Tensor, pool: Candidates, target: Tensor) -> Tensor:
        """[B] losses of query [B, D], pool of N, target [B] places in the pool; 0 where there is no rival."""
        with torch.autocast(query.device.type, enabled=False):
            query, vectors = in_full(query), in_full(pool.vectors)
            parts = [
                checkpoint(_pairs, query[block], vectors, pool, target[block], use_reentrant=False)
                for block in blocks(query, len(pool))
            ]
        return torch.cat(parts) if parts else query.sum(1)  # [B]


def _pairs(query: Tensor, vectors: Tensor, pool: Candidates, target: Tensor) -> Tensor:
    gaps = query @ vectors.T - (query * vectors[target]).sum(1, keepdim=True)  # [b, N]
    rivals = (pool.ids[target][:, None] != pool.ids) & ~absent(pool.log_q)
    return (F.softplus(gaps) * rivals).sum(1) / rivals.sum(1).clamp(min=1)
