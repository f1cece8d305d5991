"""Categories without order: cross entropy, and two ways to tell it which of them are alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.taxonomy import Taxonomy
from recsys.value import require, value


@value
class SoftmaxCE:
    """Every category has a direction of its own."""

    num: int
    smoothing: float = 0.0

    def head(self, dim: int) -> nn.Module:
        return nn.Linear(dim, self.num)

    def __call__(self, output: Tensor, label: Tensor) -> Tensor:
        """[B] losses of logits [B, num]."""
        return F.cross_entropy(output, label, reduction="none", label_smoothing=self.smoothing)

    def chances(self, output: Tensor) -> Tensor:
        return output.softmax(1)


@value
class SoftLabelCE:
    """The truth gives its neighbours in the tree a share, exp(-sharpness * height) (Bertinetto et al., 2020)."""

    taxonomy: Taxonomy
    sharpness: float = 3.0

    def __post_init__(self) -> None:
        require(self.sharpness > 0, f"sharpness must be positive, got {self.sharpness}")

    def head(self, dim: int) -> nn.Module:
        return nn.Linear(dim, self.taxonomy.num_leaves)

    def __call__(self, output: Tensor, label: Tensor) -> Tensor:
        """[B] cross entropies of logits [B, C] with the shares."""
        shares = (-self.sharpness * self.taxonomy.heights.to(output.dtype)).softmax(1)
        return -(shares[label] * output.log_softmax(1)).sum(1)

    def chances(self, output: Tensor) -> Tensor:
        return output.softmax(1)


@value
class TreeMarginalCE:
    """Cross entropies of all levels, each a sum over leaves; `coarse` weighs a level against the one below it."""

    taxonomy: Taxonomy
    coarse: float = 0.5

    def __post_init__(self) -> None:
        require(self.coarse >= 0, f"coarse must be at least 0, got {self.coarse}")

    def head(self, dim: int) -> nn.Module:
        return nn.Linear(dim, self.taxonomy.num_leaves)

    def __call__(self, output: Tensor, label: Tensor) -> Tensor:
        """[B] weighted mean over the levels, of logits [B, C] of leaves."""
        chances = output.softmax(1) @ self.taxonomy.inside.T.to(output.dtype)
        named = chances.gather(1, self.taxonomy.nodes[label]).clamp(min=1e-12).log()  # [B, depth]
        weights = self.coarse ** torch.arange(self.taxonomy.depth - 1, -1, -1).to(output.dtype)
        return -(named * weights).sum(1) / weights.sum()

    def chances(self, output: Tensor) -> Tensor:
        return output.softmax(1)
