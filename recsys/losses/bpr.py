"""Bayesian personalised ranking: the positive above each of the other items on offer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from recsys.candidates import Candidates
from recsys.losses.softmax import hits_of, scores_of
from recsys.value import value


@value
class BPR:
    """Minus the log probability that the positive beats a rival, averaged over the rivals (Rendle et al. 2009).

    Copies of the target are no rivals. log_q isn't used: the pairs are as frequent as the source makes them.
    """

    def __call__(self, query: Tensor, pool: Candidates, target: Tensor) -> Tensor:
        """[B] losses of query [B, D], pool of N, target [B] places in the pool; 0 where there is no rival."""
        scores = scores_of(query, pool.vectors)  # [B, N]
        wanted = scores.gather(1, target[:, None])  # [B, 1]
        rivals = ~hits_of(pool, target) & ~(pool.log_q.isinf() & (pool.log_q > 0))
        pairs = F.softplus(scores - wanted) * rivals
        return pairs.sum(1) / rivals.sum(1).clamp(min=1)
