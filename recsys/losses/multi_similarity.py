"""Several pairs of an anchor at once, each weighed by how it stands to the others."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.value import require, value


@value
class MultiSimilarity:
    """Multi-similarity loss with its miner of informative pairs (Wang et al. 2019), on cosines.

    A negative counts where it is within `slack` of the least similar positive, a positive where it is within `slack`
    of the most similar negative.
    """

    scales: tuple[float, float] = (2.0, 40.0)  # alpha, of positives, and beta, of negatives
    base: float = 0.5  # lambda
    slack: float = 0.1  # epsilon

    def __post_init__(self) -> None:
        require(min(self.scales) > 0, f"scales must be positive, got {self.scales}")

    def __call__(self, vectors: Tensor, labels: Tensor, step: int = 0) -> Tensor:
        """[B] losses of vectors [B, D], normalised here, and labels [B]; 0 where no pair counts."""
        unit = torch.nn.functional.normalize(vectors, dim=1)
        cosine = unit @ unit.T
        same = (labels[:, None] == labels) & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        other = labels[:, None] != labels
        hardest_same = cosine.masked_fill(~same, torch.inf).amin(1, keepdim=True)
        hardest_other = cosine.masked_fill(~other, -torch.inf).amax(1, keepdim=True)
        near = other & (cosine + self.slack > hardest_same)
        far = same & (cosine - self.slack < hardest_other)
        alpha, beta = self.scales
        pulled = _log_sum(-alpha * (cosine - self.base), far) / alpha
        pushed = _log_sum(beta * (cosine - self.base), near) / beta
        return pulled + pushed


def _log_sum(exponents: Tensor, mask: Tensor) -> Tensor:
    """log(1 + sum exp) over the pairs of the mask."""
    held = exponents.masked_fill(~mask, -torch.inf)
    return torch.cat([torch.zeros_like(held[:, :1]), held], dim=1).logsumexp(1)
