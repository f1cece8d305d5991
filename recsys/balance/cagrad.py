"""The step nearest the mean gradient that serves the worst-off task best."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from recsys.balance.balancer import Balance, Shares
from recsys.value import require, value

TINY = 1e-12


@value
class CAGrad:
    """Conflict-averse gradient descent (Liu et al. 2021): maximise the least g_i . d over ||d - g_0|| <= c ||g_0||.

    g_0 is the mean gradient; c = 0 is plain descent on the mean, c near 1 goes towards the shortest combination. The dual,
    over the simplex of T weights, is convex and solved by sequential quadratic programming, as by the authors.
    """

    c: float = 0.5

    def __post_init__(self) -> None:
        require(0 <= self.c < 1, f"c must lie in [0, 1), got {self.c}: from 1 on the step may vanish")

    def start(self, tasks: int, seed: int) -> Balance:
        del seed
        ones = torch.ones(tasks, dtype=torch.float64)

        def balance(losses: Tensor, gram: Tensor) -> Shares:
            del losses
            return Shares(torch.from_numpy(self.weights(gram.numpy())), ones)

        return balance

    def weights(self, gram: np.ndarray) -> np.ndarray:
        """[T] coefficients for a Gram matrix [T, T]."""
        tasks, trace = len(gram), float(np.trace(gram))
        mean = np.full(tasks, 1 / tasks)
        if trace <= TINY or self.c == 0:
            return mean
        unit = gram / trace
        radius = self.c * np.sqrt(max(mean @ unit @ mean, 0.0))

        def dual(w: np.ndarray) -> tuple[float, np.ndarray]:
            pulled = unit @ w
            length = np.sqrt(max(w @ pulled, TINY))
            return float(mean @ pulled + radius * length), unit @ mean + radius * pulled / length

        found = minimize(
            dual, mean, jac=True, method="SLSQP", bounds=[(0, 1)] * tasks, options={"ftol": 1e-12},
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        ).x  # fmt: skip
        length = np.sqrt(max(found @ unit @ found, TINY))
        return mean + radius / length * found
