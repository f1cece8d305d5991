"""The direction in which all tasks improve at the same rate."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.balance.balancer import Balance, Shares, norms
from recsys.value import value

TINY = 1e-12


@value
class ConFIG:
    """Conflict-free inverse gradients (Liu et al. 2024): equal cosine with every gradient, as long as their projections.

    As a weighting of the Gram matrix, so that nothing of the model's size is inverted. Magnitudes don't matter to the
    direction at all; a task without gradient is left out.
    """

    def start(self, tasks: int, seed: int) -> Balance:
        del seed
        ones = torch.ones(tasks, dtype=torch.float64)

        def balance(losses: Tensor, gram: Tensor) -> Shares:
            del losses
            lengths = norms(gram)
            inverse = torch.where(lengths > TINY, 1 / lengths.clamp(min=TINY), 0.0)
            cosines = gram * inverse[:, None] * inverse
            along = torch.linalg.pinv(cosines, hermitian=True) @ (inverse > 0).double() * inverse  # of the gradients
            length = (along @ gram @ along).clamp(min=TINY).sqrt()
            reach = (gram @ along).sum() / length
            return Shares(along * reach / length, ones)

        return balance
