"""Loss weights learnt so that gradient norms follow the tasks' rates of training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from recsys.balance.balancer import Balance, Shares, norms
from recsys.balance.norm_ema import inverse
from recsys.value import require, value

TINY = 1e-12


@value
class GradNorm:
    """Chen et al. 2018: w_i ||g_i|| is drawn to its mean over tasks times (relative inverse training rate)^alpha.

    The published start is w = 1. A weight is learnt by Adam on its logarithm, so it stays positive and moves by at most
    about `learning_rate` a step: a ratio of norms of 10,000 is nine steps of one, or hundreds at the usual rate; start
    "norms" begins with the inverse norms of step 0 instead. Weights are renormalised to the sum T after every step, else
    they would act as a learning rate. Norms are taken over all shared parameters that the balancer is given; the paper
    takes those of the last shared layer, to save time.
    """

    alpha: float = 0.5
    learning_rate: float = 0.025
    start_at: Literal["ones", "norms"] = "ones"

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, f"learning_rate must be positive, got {self.learning_rate}")
        require(self.alpha >= 0, f"alpha must not be negative, got {self.alpha}")

    def start(self, tasks: int, seed: int) -> Balance:
        del seed
        logs = torch.zeros(tasks, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([logs], lr=self.learning_rate)
        first: Tensor | None = None

        def balance(losses: Tensor, gram: Tensor) -> Shares:
            nonlocal first
            lengths = norms(gram)
            if first is None:
                first = losses.clamp(min=TINY)
                if self.start_at == "norms":
                    logs.data.copy_(inverse(lengths).log())
            weights = logs.detach().exp()
            optimiser.zero_grad()
            logs.grad = weights * self.slope(weights, lengths, losses / first)
            optimiser.step()
            logs.data.sub_(logs.detach().logsumexp(0) - torch.tensor(float(tasks), dtype=torch.float64).log())
            return Shares.loss_weights(weights)

        return balance

    def slope(self, weights: Tensor, lengths: Tensor, progress: Tensor) -> Tensor:
        """[T] derivative by the weights of sum |w_i l_i - target_i|, targets held constant; progress is loss / first loss."""
        now = weights * lengths
        rate = progress / progress.mean().clamp(min=TINY)
        return torch.sign(now - now.mean() * rate**self.alpha) * lengths
