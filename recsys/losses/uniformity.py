"""All vectors together should fill the sphere."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.value import require, value


@value
class Uniformity:
    """Log of the mean Gaussian potential of all pairs of unit vectors (Wang & Isola 2020); 0 where all are one point."""

    scale: float = 2.0

    def __post_init__(self) -> None:
        require(self.scale > 0, f"scale must be positive, got {self.scale}")

    def __call__(self, vectors: Tensor) -> Tensor:
        """A scalar of unit vectors [B, D], B >= 2: pairs (i, j), i < j."""
        square = (2 - 2 * vectors @ vectors.T).clamp(min=0)
        i, j = torch.triu_indices(len(vectors), len(vectors), 1, device=vectors.device)
        return (-self.scale * square[i, j]).logsumexp(0) - torch.tensor(float(len(i))).log()
