"""How the whole of the recommendations is spread over the catalogue."""

from __future__ import annotations

import torch
from torch import Tensor


def times_shown(ranked: Tensor, num_items: int, k: int) -> Tensor:
    """How many of the first k places of all lists each item holds, [num_items] int64; ranked [U, K], -1 for none."""
    shown = ranked[:, :k].reshape(-1)
    return torch.bincount(shown[shown >= 0], minlength=num_items)


def coverage(shown: Tensor, offered: Tensor) -> float:
    """Share of the items that may be offered, [V] bool, which stand in at least one list."""
    return float(((shown > 0) & offered).sum() / offered.sum().clamp(min=1))


def gini(shown: Tensor, offered: Tensor) -> float:
    """Inequality of exposure over the items that may be offered: 0 when all are shown alike, near 1 when one is."""
    counts = shown[offered].double().sort().values
    total, n = counts.sum(), len(counts)
    if not n or total == 0:
        return float("nan")
    places = torch.arange(1, n + 1, dtype=torch.float64)
    return float((2 * places - n - 1) @ counts / (n * total))


def popularity_lift(ranked: Tensor, train_counts: Tensor, k: int) -> Tensor:
    """How much more popular each user's list is than an average past event, in nats: [U] float64, NaN for no items.

    Mean of log(1 + train count) over the first k places, minus its mean over past events: below 0, the list reaches
    deeper into the catalogue than users do by themselves.
    """
    log_count = train_counts.double().log1p()
    usual = (log_count @ train_counts.double()) / train_counts.sum().clamp(min=1)
    held = ranked[:, :k]
    mask = held >= 0
    mean = (log_count[held.clamp(min=0)] * mask).sum(1) / mask.sum(1)
    return mean - usual
