"""Softmaxes for classes of which some have few rows: cross entropy, over logits that say less of frequency."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from recsys.heads.classes import AdjustedLinear, CosineLinear
from recsys.value import require, value


@value
class LogitAdjusted:
    """What is served is as if all classes were equally frequent; `tau` 0 is a plain softmax (Menon et al., 2021)."""

    num: int
    tau: float = 1.0

    def __post_init__(self) -> None:
        require(self.tau >= 0, f"tau must be at least 0, got {self.tau}")

    def head(self, dim: int) -> nn.Module:
        return AdjustedLinear(dim, self.num, self.tau)

    def __call__(self, output: Tensor, label: Tensor) -> Tensor:
        """[B] losses of logits [B, num]."""
        return cross_entropy(output, label, reduction="none")

    def chances(self, output: Tensor) -> Tensor:
        return output.softmax(1)


@value
class CosineSoftmax:
    """Classes differ in direction alone; `scale` bounds how sure an answer can be."""

    num: int
    scale: float = 16.0

    def __post_init__(self) -> None:
        require(self.scale > 0, f"scale must be positive, got {self.scale}")

    def head(self, dim: int) -> nn.Module:
        return CosineLinear(dim, self.num, self.scale)

    def __call__(self, output: Tensor, label: Tensor) -> Tensor:
        """[B] losses of logits [B, num]."""
        return cross_entropy(output, label, reduction="none")

    def chances(self, output: Tensor) -> Tensor:
        return output.softmax(1)
