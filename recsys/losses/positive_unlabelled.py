"""Learning from positives and from rows nobody labelled, of which some are positive too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.value import require, value


@value
class NonNegativePU:
    """The risk of a classifier from positives drawn at random and from unlabelled rows (du Plessis et al., 2015).

    The unlabelled rows' loss as negatives, less the share of it that positives make, can't be below 0; where it falls
    below -beta, the step undoes that overfit instead (nnPU, Kiryo et al., 2017). The labelled positives must be
    selected completely at random: where review depends on the words, the risk is that of another population.
    """

    prior: float  # share of positives among the unlabelled rows
    beta: float = 0.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.prior < 1, f"prior is the share of positives, inside 0..1, got {self.prior}")

    def __call__(self, logits: Tensor, positive: Tensor) -> Tensor:
        """A scalar: logits [B], positive [B] bool marks the labelled positives; all rows count as unlabelled."""
        mark = positive.to(logits.dtype)
        num = mark.sum().clamp(min=1)
        gain = self.prior * (F.softplus(-logits) * mark).sum() / num
        rest = F.softplus(logits).mean() - self.prior * (F.softplus(logits) * mark).sum() / num
        return torch.where(rest < -self.beta, -self.gamma * rest, gain + rest)


@value
class SelectedPU:
    """The same where a positive's chance to be labelled depends on what it is (SAR; Bekker et al., 2019).

    A labelled positive counts 1 / propensity times as a positive and 1 - 1 / propensity times as a negative, every
    other row as a negative: unbiased with the true propensity, and without use for a negative label.
    """

    clip: float = 50.0

    def __call__(self, logits: Tensor, positive: Tensor, propensity: Tensor) -> Tensor:
        """[B] losses, which may be negative; logits [B], positive [B] bool, propensity [B] of being labelled."""
        weight = 1 / propensity.clamp(min=1 / self.clip)
        labelled = weight * F.softplus(-logits) + (1 - weight) * F.softplus(logits)
        return torch.where(positive, labelled, F.softplus(logits))
