"""Categories as places on one scale: four ways to learn a rank, each read as chances of the ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.value import require, value


@value
class Corn:
    """A chain of questions, "further, having come this far?", each with a direction of its own (Shi et al., 2021)."""

    num: int

    def head(self, dim: int) -> nn.Module:
        return nn.Linear(dim, self.num - 1)

    def __call__(self, output: Tensor, rank: Tensor) -> Tensor:
        """[B] losses of logits [B, num - 1]: the questions that a rank [B] answers, summed."""
        step = torch.arange(self.num - 1)
        losses = F.binary_cross_entropy_with_logits(output, (rank[:, None] > step).to(output.dtype), reduction="none")
        return (losses * (rank[:, None] >= step)).sum(1)

    def chances(self, output: Tensor) -> Tensor:
        """[B, num] of each rank."""
        return _between(F.logsigmoid(output).cumsum(1).exp())


@value
class Coral:
    """One direction for all thresholds (Cao et al., 2020), the cumulative link of McCullagh (1980).

    `sharpness` multiplies score and thresholds: a logit that must tell hundreds of ranks apart has far to go.
    """

    num: int
    sharpness: float = 30.0

    def __post_init__(self) -> None:
        require(self.sharpness > 0, f"sharpness must be positive, got {self.sharpness}")

    def head(self, dim: int) -> nn.Module:
        return Thresholds(dim, self.num, self.sharpness)

    def __call__(self, output: Tensor, rank: Tensor) -> Tensor:
        """[B] losses of logits [B, num - 1] of "further than this", summed."""
        further = (rank[:, None] > torch.arange(self.num - 1)).to(output.dtype)
        return F.binary_cross_entropy_with_logits(output, further, reduction="none").sum(1)

    def chances(self, output: Tensor) -> Tensor:
        """[B, num] of each rank; thresholds out of order count as the lowest so far."""
        return _between(output.sigmoid().cummin(1).values)


@value
class RankRegression:
    """The rank as a number, by squares."""

    num: int

    def head(self, dim: int) -> nn.Module:
        return nn.Linear(dim, 1)

    def __call__(self, output: Tensor, rank: Tensor) -> Tensor:
        """[B] squared errors of outputs [B, 1] on a scale from -1 to 1."""
        return (output[:, 0] - (2 * rank / (self.num - 1) - 1)).square()

    def chances(self, output: Tensor) -> Tensor:
        """[B, num] by distance from the number: the nearest rank is the likeliest, and the median."""
        place = (output + 1) * (self.num - 1) / 2
        return (-0.5 * (torch.arange(self.num) - place).square()).softmax(1)


@value
class SquaredEMD:
    """A softmax for which far misses cost more: cross entropy plus the squared distance of cumulative chances.

    Hou et al., 2016. `strength` weighs the distance; alone it hardly learns hundreds of classes, since a softmax over
    all of them gives it next to no slope at the start.
    """

    num: int
    strength: float = 0.1

    def __post_init__(self) -> None:
        require(self.strength >= 0, f"strength must be at least 0, got {self.strength}")

    def head(self, dim: int) -> nn.Module:
        return nn.Linear(dim, self.num)

    def __call__(self, output: Tensor, rank: Tensor) -> Tensor:
        """[B] losses of logits [B, num]."""
        reached = (rank[:, None] <= torch.arange(self.num)).to(output.dtype)
        far = (output.softmax(1).cumsum(1) - reached).square().sum(1)
        return F.cross_entropy(output, rank, reduction="none") + self.strength * far

    def chances(self, output: Tensor) -> Tensor:
        return output.softmax(1)


class Thresholds(nn.Module):
    """Vectors [B, D] -> logits [B, num - 1] that rise together with one score."""

    def __init__(self, dim: int, num: int, sharpness: float) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1, bias=False)
        self.at = nn.Parameter(torch.linspace(-1, 1, num - 1))
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        return self.sharpness * (self.score(x) - self.at)


def _between(further: Tensor) -> Tensor:
    """[B, num] chances of ranks, of chances [B, num - 1] of lying above each rank but the last."""
    one, none = torch.ones_like(further[:, :1]), torch.zeros_like(further[:, :1])
    above = torch.cat([one, further, none], 1)
    return (above[:, :-1] - above[:, 1:]).clamp(min=0)
