"""Graded lists, and metrics that lie between MAP and NDCG."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.evaluate.metrics import Judged


def exponential(grades: Tensor) -> Tensor:
    """Gains 2^grade - 1 (Burges et al., 2005)."""
    return 2.0 ** grades.double() - 1


def average_gain(judged: Judged, k: int) -> Tensor:
    """Gain at each place times the mean gain up to it, summed over k places, out of the best order's.

    With gains of 0 and 1 it is `mean_average_precision`: precision at each hit, out of min(k, positives).
    """
    best = _summed(judged.ideal, k)
    return _summed(judged.gains, k) / best.masked_fill(best == 0, torch.nan)


def _summed(gains: Tensor, k: int) -> Tensor:
    held = gains[:, :k]
    return (held * held.cumsum(1) / torch.arange(1, held.shape[1] + 1, dtype=held.dtype)).sum(1)
