"""Every task's gradient of the same average length."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.balance.balancer import Balance, Shares, norms
from recsys.value import require, value

TINY = 1e-12


@value
class GradNormEMA:
    """Losses weighed by the inverse of a running mean of their shared gradients' norms; weights sum to T.

    The plainest cure of unequal magnitudes: it measures what GradNorm (Chen et al. 2018) learns, and so needs no learning
    rate and no steps to get there. Steps on which a task has no rows, and so no gradient, leave its mean as it is.
    """

    decay: float = 0.95

    def __post_init__(self) -> None:
        require(0 <= self.decay < 1, f"decay must lie in [0, 1), got {self.decay}")

    def start(self, tasks: int, seed: int) -> Balance:
        del seed
        total, mass = torch.zeros(tasks, dtype=torch.float64), torch.zeros(tasks, dtype=torch.float64)

        def balance(losses: Tensor, gram: Tensor) -> Shares:
            nonlocal total, mass
            del losses
            now = norms(gram)
            seen = now > TINY
            total = torch.where(seen, self.decay * total + (1 - self.decay) * now, total)
            mass = torch.where(seen, self.decay * mass + (1 - self.decay), mass)
            return Shares.loss_weights(inverse(total / mass.clamp(min=TINY)))

        return balance


def inverse(lengths: Tensor) -> Tensor:
    """Weights [T] that make gradients of these lengths equal, with sum T; a task of length 0 counts as the mean one."""
    known = lengths > TINY
    if not bool(known.any()):
        return torch.ones_like(lengths)
    weights = 1 / torch.where(known, lengths, lengths[known].log().mean().exp())
    return weights * len(weights) / weights.sum()
