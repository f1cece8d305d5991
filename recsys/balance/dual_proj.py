"""The mean gradient, moved as little as possible until it opposes no task."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from recsys.balance.balancer import Balance, Shares
from recsys.value import value


@value
class DualProj:
    """Projection of the mean onto the cone of steps that increase no loss (Lopez-Paz and Ranzato 2017, equation 11).

    Where PCGrad treats pairs in turn, this solves for all tasks at once: shortest sum w_i g_i with w_i >= 1/T.
    """

    ridge: float = 1e-4  # of the Gram matrix of trace 1, against gradients that are multiples of each other

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
        if trace <= 0:
            return mean
        root = np.linalg.cholesky(gram / trace + self.ridge * np.eye(tasks)).T
        return mean + nnls(root, -root @ mean)[0]
