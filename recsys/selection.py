"""Who was looked at: the chance of a look, the share of positives behind it, and labels for those nobody looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.value import require, value


@value
class PropensityModel:
    """The chance that a row was looked at, a logistic regression on what was known before the look.

    Nothing that is known only after it, such as the label, may be a feature. `ridge` is the penalty of the squared
    weights, in rows; the constant is free.
    """

    ridge: float = 1.0
    steps: int = 50

    def __call__(self, features: Tensor, looked: Tensor) -> Tensor:
        """[N] probabilities of features [N, F] and looked [N] bool, by Newton's method with its step halved."""
        x = torch.cat([features.double(), features.new_ones(len(features), 1).double()], 1)
        y = looked.double()
        penalty = torch.full((x.shape[1],), self.ridge, dtype=torch.float64)
        penalty[-1] = 1e-9
        weight = torch.zeros(x.shape[1], dtype=torch.float64)

        def objective(w: Tensor) -> float:
            return float(F.binary_cross_entropy_with_logits(x @ w, y, reduction="sum") + (penalty * w * w).sum() / 2)

        held = objective(weight)
        for _ in range(self.steps):
            p = torch.sigmoid(x @ weight)
            slope = x.T @ (p - y) + penalty * weight
            step = torch.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + penalty.diag(), slope)
            size = 1.0
            while objective(weight - size * step) > held and size > 1e-6:
                size /= 2
            weight = weight - size * step
            held, before = objective(weight), held
            if before - held < 1e-9 * max(1.0, abs(held)):
                break
        return torch.sigmoid(x @ weight).to(features.dtype)


@dataclass(frozen=True, slots=True)
class Prior:
    """A share of positives with its standard error, and the share of all positives that the queue didn't take."""

    share: float
    error: float
    hidden: float
    hidden_error: float


@value
class PriorEstimator:
    """The share of positives from a queue's labels and a random audit of what the queue left.

    Two strata (Cochran, 1977): what the queue took is known; what it left is estimated from the audited rows in it.
    Without positives in the audit `add` pseudo-positives keep the error honest.
    """

    add: float = 0.5

    def __call__(self, queued: Tensor, label: Tensor, audit_label: Tensor) -> Prior:
        """queued [N] bool, label [N] NaN outside of the queue, audit_label [N] NaN outside of the audit."""
        left = ~queued & ~audit_label.isnan()
        num, rest = int(left.sum()), int((~queued).sum())
        require(num > 0 or rest == 0, "no audited row outside of the queue: what it left can't be known")
        hits = float(audit_label[left].sum())
        share = hits / num if num else 0.0
        padded = (hits + self.add) / (num + 2 * self.add) if num else 0.0
        error = (padded * (1 - padded) / num) ** 0.5 if num else 0.0
        found, missed = float(label[queued].nansum()), rest * share
        total, spread = max(found + missed, 1e-12), rest * error
        return Prior(total / len(queued), spread / len(queued), missed / total, spread * found / total**2)


@value
class PseudoLabeler:
    """Labels people gave are kept; a teacher's probability stands in for those that nobody gave (Lee, 2013, softened).

    `sharpen` below 1 moves the probabilities towards 0 and 1.
    """

    sharpen: float = 1.0

    def __call__(self, label: Tensor, logits: Tensor) -> Tensor:
        """[N] targets from 0 to 1 of label [N], NaN where unknown, and the teacher's logits [N]."""
        return torch.where(label.isnan(), torch.sigmoid(logits / self.sharpen), label)


def covered(queue: Tensor, audit: float) -> Tensor:
    """[N] chance that a queue (its propensities [N]) or a random audit of this rate looks at a row."""
    return 1 - (1 - queue) * (1 - audit)


def elkan_noto(score: np.ndarray, labelled: np.ndarray) -> float:
    """The share of positives that get a label, if they are chosen at random: mean score of held-out labelled positives.

    score [n] of a model of being labelled, labelled [n] bool; Elkan & Noto, 2008, their estimator e1.
    """
    require(bool(labelled.any()), "no labelled positive among the held-out rows")
    return float(score[labelled].mean())
