"""NDCG with places that scores can move smoothly."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.value import require, value


@value
class ApproxNDCG:
    """One less NDCG, a place being one plus a sum of sigmoids (Qin, Liu and Li, 2010; Bruch et al., 2019).

    A temperature well below the scores' gaps makes the places exact and the gradient vanish.
    """

    temperature: float = 0.5

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature must be positive, got {self.temperature}")

    def __call__(self, scores: Tensor, gains: Tensor) -> Tensor:
        """[B] losses of scores and gains >= 0, both [B, K]; 0 where no gain is above 0."""
        above = torch.sigmoid((scores[:, None, :] - scores[:, :, None]) / self.temperature)  # j above i
        place = 0.5 + above.sum(2)  # an item is above itself by a half
        found = (gains / (1 + place).log2()).sum(1)
        exact = torch.arange(2, gains.shape[1] + 2, device=gains.device, dtype=gains.dtype).log2()
        ideal = (gains.sort(1, descending=True).values / exact).sum(1)
        return torch.where(ideal > 0, 1 - found / ideal.clamp(min=1e-12), torch.zeros_like(ideal))
