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
    hard_active: float | None = None  # active share, with these weights, if the hardest negative of a batch were taken


@dataclass(frozen=True)
class Replays(Part):
    """Scores (higher is better, on logged validation items) of short runs from the same start, one change each."""

    as_it_was: float
    other_miner: float | None = None  # semi-hard negatives on unit vectors, or another loss that isn't the suspect
    without_copies: float | None = None  # without items that have a near duplicate under another label


def tail(series: Tensor, share: float = 0.1) -> float:
    """Mean over the last tenth of a series [S]."""
    require(len(series) > 0, "an empty series has no end; record at least one step")
    return float(series[-max(1, round(share * len(series))) :].double().mean())
