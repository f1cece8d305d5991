"""Logistic regression of a few columns, with standard errors: what detectors ask a log."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STEPS = 25
RIDGE = 1e-3  # of the diagonal, in events: keeps separable columns finite


@dataclass(frozen=True, slots=True)
class Logistic:
    """Coefficients and their standard errors, the intercept left out."""

    weight: Tensor  # [F] float64
    error: Tensor  # [F] float64

    @property
    def z(self) -> Tensor:
        return self.weight / self.error

    @classmethod
    def fit(cls, columns: Tensor, answer: Tensor) -> Logistic:
        """Maximum likelihood by Newton's method; columns [n, F], answers [n] 0 or 1."""
        rows = torch.cat([columns.double(), columns.new_ones(len(columns), 1).double()], 1)
        wanted, weight = answer.double(), torch.zeros(rows.shape[1], dtype=torch.float64)
        ridge = RIDGE * torch.eye(rows.shape[1], dtype=torch.float64)
        information = ridge
        for _ in range(STEPS):
            p = torch.sigmoid(rows @ weight)
            information = (rows * (p * (1 - p))[:, None]).T @ rows + ridge
            step = torch.linalg.solve(information, rows.T @ (wanted - p) - ridge @ weight)
            weight = weight + step.clamp(-3, 3)
            if float(step.abs().max()) < 1e-8:
                break
        error = torch.linalg.inv(information).diagonal().sqrt()
        return cls(weight[:-1], error[:-1])


def within_lists(values: Tensor, here: Tensor) -> Tensor:
    """[L, K] less the list's mean, over the standard deviation of all: what a ranking sees of them; 0 where not here."""
    held = torch.where(here, values.double(), 0.0)
    centred = (held - held.sum(1, keepdim=True) / here.sum(1, keepdim=True).clamp(min=1)) * here
    return centred / centred[here].std().clamp(min=1e-12)
