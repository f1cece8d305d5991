"""What a training run left behind, and what short repetitions of it came to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.diagnose.diagnosis import Part
from recsys.value import require


@dataclass(frozen=True)
class TrainingTrace(Part):
    """A run step by step; every series has the same length S."""

    loss: Tensor  # [S] mean over all anchors, those of loss 0 included
    margin: float | None = None  # None: the soft one, softplus, or no triplet loss at all
    triplets: bool = True  # whether the loss compares distances at all
    active: Tensor | None = None  # [S] share of the anchors whose loss isn't 0
    gradient: Tensor | None = None  # [S] norm over all parameters, before clipping
    weight: Tensor | None = None  # [S] norm of all parameters
    silent: float | None = None  # share of the hidden units that are 0 for every item, at the end
    semihard_active: float | None = None  # active share, with these weights and this margin, of semi-hard triplets


@dataclass(frozen=True)
class Replays(Part):
    """recall@1 on logged validation items of short runs from the same start, one change each."""

    items: int  # how many validation items: what a difference of two shares must clear
    as_it_was: float  # recall@1, a share of the validation items
    other_miner: float | None = None  # semi-hard negatives on unit vectors, or another loss that isn't the suspect
    without_copies: float | None = None  # without items that have a near duplicate under another label

    def gain(self, share: float | None) -> float:
        """How many standard errors a replay lies above the run as it was (two proportions, pooled); NaN without it."""
        if share is None:
            return float("nan")
        pooled = min(max((share + self.as_it_was) / 2, 1 / self.items), 1 - 1 / self.items)
        return (share - self.as_it_was) / (2 * pooled * (1 - pooled) / self.items) ** 0.5


def tail(series: Tensor, share: float = 0.1) -> float:
    """Mean over the last tenth of a series [S]."""
    require(len(series) > 0, "an empty series has no end; record at least one step")
    return float(series[-max(1, round(share * len(series))) :].double().mean())
