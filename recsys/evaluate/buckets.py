"""A mean over traffic is a mean over the head: queries count once each, by how often they were typed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recsys.batch import Jagged
from recsys.evaluate.metrics import judge, recall
from recsys.evaluate.ranks import top_k
from recsys.value import require


def recall_of_each(scores: Tensor, relevant: Tensor, k: int) -> Tensor:
    """[Q] truncated recall@k of scores [Q, I] against judgements [Q, I] bool; NaN for a query without a relevant item."""
    counts = relevant.sum(1)
    held = Jagged(relevant.nonzero()[:, 1], torch.nn.functional.pad(counts.cumsum(0), (1, 0)))
    return recall(judge(top_k(scores, k), held), k)


def bucket_means(values: Tensor, frequency: Tensor, edges: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Mean over the queries of each bucket, low <= frequency < high; NaN values aside, and NaN for an empty bucket."""
    for name, (low, high) in edges.items():
        require(low < high, f"bucket {name!r} is empty: {low} to {high}")
    rows = {name: (frequency >= low) & (frequency < high) for name, (low, high) in edges.items()}
    return {name: float(values[row].nanmean()) for name, row in rows.items()}


def micro_mean(values: Tensor, frequency: Tensor) -> float:
    """Mean by traffic: each query counts as often as it was typed; NaN values and their traffic aside."""
    known = ~values.isnan()
    weight = frequency[known].to(values.dtype)
    require(bool(weight.sum() > 0), "no query with a value was ever typed: there is no traffic to average over")
    return float((values[known] * weight).sum() / weight.sum())
