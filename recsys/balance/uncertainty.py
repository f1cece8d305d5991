"""Loss weights that are learnt with the model, as the inverse of what each task's noise seems to be."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.balance.balancer import Balance, Shares
from recsys.value import require, value


@value
class Uncertainty:
    """Kendall et al. 2018: sum over tasks of exp(-s_i) L_i + s_i, with s_i learnt by Adam; at rest exp(s_i) = L_i.

    It looks at losses and not at gradients, so its fixed point equalises weighted *losses*; and log weights move by at
    most about `learning_rate` a step.
    """

    learning_rate: float = 0.025

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, f"learning_rate must be positive, got {self.learning_rate}")

    def start(self, tasks: int, seed: int) -> Balance:
        del seed
        s = torch.zeros(tasks, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([s], lr=self.learning_rate)

        def balance(losses: Tensor, gram: Tensor) -> Shares:
            del gram
            weights = (-s.detach()).exp()
            optimiser.zero_grad()
            s.grad = 1 - weights * losses
            optimiser.step()
            return Shares.loss_weights(weights)

        return balance
