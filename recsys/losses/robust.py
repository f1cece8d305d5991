"""Losses that trust a label less, whatever made it wrong."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from recsys.value import require, value


@value
class GeneralisedCrossEntropy:
    """(1 - p^q) / q of the probability p given to the label: q to 0 is cross entropy, 1 is absolute error.

    Zhang & Sabuncu, 2018. Rows that contradict the model pull less, whether they are wrong or just hard.
    """

    q: float = 0.7

    def __post_init__(self) -> None:
        require(0 < self.q <= 1, f"q must be above 0 and at most 1, got {self.q}")

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[B] losses of logits [B] and labels [B] 0 or 1."""
        sign = 2 * labels - 1
        return (1 - (self.q * F.logsigmoid(sign * logits)).exp()) / self.q


@value
class SmoothedCrossEntropy:
    """Cross entropy against labels moved towards a half by `smoothing` (Szegedy et al., 2016)."""

    smoothing: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.smoothing < 1, f"smoothing is a share below 1, got {self.smoothing}")

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[B] losses of logits [B] and labels [B] from 0 to 1."""
        target = labels * (1 - self.smoothing) + self.smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


@value
class CoTeaching:
    """Two networks each learn from the rows that the other finds easy (Han et al., 2018).

    A share `forget` of the rows, those of the highest loss, is held to be mislabelled. Where one class is rare its
    rows are the high ones, right or wrong.
    """

    forget: float = 0.05

    def __post_init__(self) -> None:
        require(0 <= self.forget < 1, f"forget is a share below 1, got {self.forget}")

    def __call__(self, losses: Tensor) -> Tensor:
        """A scalar of losses [B, 2], one column a network."""
        keep = max(1, round(len(losses) * (1 - self.forget)))
        easy = losses.detach().topk(keep, dim=0, largest=False).indices  # [keep, 2]
        return losses.gather(0, easy.flip(1)).mean(0).sum()
