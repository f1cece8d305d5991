"""Weights of the losses that somebody chose: the baseline that every cleverer balancer has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.balance.balancer import Balance, Shares
from recsys.value import require, value


@value
class Static:
    """Unitary scalarisation with tuned weights, often as good as anything (Kurin et al. 2022; Xin et al. 2022)."""

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        require(all(w >= 0 for w in self.weights), f"weights must not be negative, got {self.weights}")

    def start(self, tasks: int, seed: int) -> Balance:
        del seed
        require(len(self.weights) == tasks, f"{tasks} tasks need {tasks} weights, got {self.weights}")
        shares = Shares.loss_weights(torch.tensor(self.weights, dtype=torch.float64))

        def balance(losses: Tensor, gram: Tensor) -> Shares:
            del losses, gram
            return shares

        return balance
