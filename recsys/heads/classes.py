"""Last layers of a softmax over classes that aren't as frequent as each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AdjustedLinear(nn.Linear):
    """Logits to which training adds the logarithm of how frequent each class is, so that they needn't learn it.

    Vectors [B, D] -> logits [B, C]. Softmax cross entropy of the sum is consistent for the error averaged over classes
    (Menon et al., 2021: logit adjustment, tau = 1); serving leaves the addend out. `count` must come before training.
    """

    log_prior: Tensor

    def __init__(self, dim: int, num: int, tau: float) -> None:
        super().__init__(dim, num)
        self.tau = tau
        self.register_buffer("log_prior", torch.zeros(num))

    def count(self, label: Tensor) -> None:
        """Take the frequencies from training labels [N]; a class without any counts as half a row."""
        rows = label.bincount(minlength=self.out_features).float().clamp(min=0.5)
        self.log_prior.copy_((rows / rows.sum()).log())

    def forward(self, input: Tensor) -> Tensor:
        logits = super().forward(input)
        return logits + self.tau * self.log_prior if self.training else logits


class CosineLinear(nn.Linear):
    """Logits that are `scale` times cosines with a direction of each class: no class is likelier for a longer vector.

    Vectors [B, D] -> [B, C] (Wang et al., 2017: NormFace; Gidaris and Komodakis, 2018, for classes with few rows).
    """

    def __init__(self, dim: int, num: int, scale: float) -> None:
        super().__init__(dim, num, bias=False)
        self.scale = scale

    def forward(self, input: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(input, dim=1), F.normalize(self.weight, dim=1))
