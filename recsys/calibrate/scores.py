"""A score that another model consumes is a contract: its distribution must not move with the model that makes it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from recsys.value import require

Contract = Literal["raw", "zscore", "rank"]


def quantile_map(live: Tensor, train: Tensor, scores: Tensor) -> Tensor:
    """Scores of any shape, each replaced by the value that has its place in the training distribution.

    live [n] and train [m] are samples of the score before and after the mapping; between points it is linear, beyond
    them constant. Order is kept.
    """
    require(len(live) > 1 and len(train) > 1, f"a map needs two samples, got {len(live)} and {len(train)} scores")
    levels = torch.linspace(0, 1, min(1001, len(live), len(train)), dtype=torch.float64)
    points = torch.quantile(_thinned(live).double(), levels)
    values = torch.quantile(_thinned(train).double(), levels)
    place = torch.searchsorted(points, scores.double().contiguous()).clamp(1, len(points) - 1)
    low, high = points[place - 1], points[place]
    share = ((scores.double() - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return (values[place - 1] + share * (values[place] - values[place - 1])).to(scores.dtype)


def per_list(scores: Tensor, contract: Contract) -> Tensor:
    """[Q, C] scores of lists as they are; with mean 0 and deviation 1; or as places from 0 (lowest) to 1."""
    if contract == "raw":
        return scores
    if contract == "zscore":
        return (scores - scores.mean(1, keepdim=True)) / scores.std(1, keepdim=True).clamp(min=1e-12)
    return scores.argsort(1).argsort(1).to(scores.dtype) / max(1, scores.shape[1] - 1)


def population_stability(train: Tensor, live: Tensor, bins: int = 10) -> float:
    """Population stability index of a score over equal-frequency bins of its training values; 0.25 is called a shift.

    Sum of (p - q) log(p / q), with shares of at least half an observation, so that it stays finite (Yurdakul 2018).
    """
    edges = torch.quantile(_thinned(train).double(), torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1])
    shares = []
    for held in (train, live):
        counts = torch.bincount(torch.searchsorted(edges, held.double().contiguous()), minlength=bins).double()
        shares.append(counts.clamp(min=0.5) / len(held))
    p, q = shares
    return float(((p - q) * (p / q).log()).sum())


def _thinned(values: Tensor, most: int = 100_000) -> Tensor:
    """An even sample: torch.quantile takes no more than 16 million values."""
    return values[:: -(-len(values) // most)]
