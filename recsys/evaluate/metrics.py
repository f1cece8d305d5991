"""Ranking metrics are pure functions of what stands where: one value per user; averages and tests come later.

A user without positives has no value: NaN, left out of means and counted. Every metric is in [0, 1], 1 being the best
list of k places that exists for the user. Metrics that start with `uncapped_` divide by all positives instead, so a
user with more than k positives can't reach 1; they are what TREC's tools and ranx call recall and map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.batch import Jagged
from recsys.evaluate.ranks import TiedRanks, find, marked
from recsys.value import require


@dataclass(frozen=True, slots=True)
class Judged:
    """A ranked list after the fact: what each place was worth, and what the best list would have been worth."""

    gains: Tensor  # [U, K] float64, grade of the item at each place, 0 when it isn't relevant
    ideal: Tensor  # [U, K] float64, the user's K highest grades, falling
    positives: Tensor  # [U] float64, number of relevant items

    @property
    def positives_or_nan(self) -> Tensor:
        return self.positives.masked_fill(self.positives == 0, torch.nan)  # [U]


Metric = Callable[[Judged, int], Tensor]  # judged lists, cutoff -> [U] float64


def judge(ranked: Tensor, relevant: Jagged, grades: Tensor | None = None) -> Judged:
    """Look up what a ranked list found.

    ranked [U, K] item ids, -1 for empty places; relevant: distinct item ids of U users, in any order; grades [n] > 0,
    parallel to relevant.values, 1 when left out. Ids must not repeat within a user (`HeldOut` and `Lists` check it).
    """
    require(len(ranked) == len(relevant), f"{len(ranked)} ranked lists for {len(relevant)} users with relevant items")
    positives = relevant.lengths.double()
    if grades is None:
        ideal = torch.arange(ranked.shape[1]) < relevant.lengths[:, None]
        return Judged(marked(ranked, relevant).double(), ideal.double(), positives)
    require(bool((grades > 0).all()), "grades must be positive: leave items of grade 0 out of the relevant ones")
    rows = torch.arange(len(ranked))[:, None].expand_as(ranked).reshape(-1)
    place = find(relevant, rows, ranked.reshape(-1)).view(ranked.shape)
    gains = torch.where(place >= 0, grades.double()[place.clamp(min=0)], 0.0)
    best = relevant.with_values(grades.double()).padded()[0].sort(dim=1, descending=True).values
    missing = max(0, ranked.shape[1] - best.shape[1])
    ideal = torch.nn.functional.pad(best, (0, missing))[:, : ranked.shape[1]]
    return Judged(gains, ideal, positives)


def recall(judged: Judged, k: int) -> Tensor:
    """Hits among the first k, out of the most that k places can hold: hits / min(k, positives).

    The truncated recall of Liang et al., 2018 (variational autoencoders for collaborative filtering).
    """
    return _hits(judged, k).sum(1) / judged.positives_or_nan.clamp(max=k)


def uncapped_recall(judged: Judged, k: int) -> Tensor:
    """Hits among the first k, out of all positives: hits / positives."""
    return _hits(judged, k).sum(1) / judged.positives_or_nan


def precision(judged: Judged, k: int) -> Tensor:
    """Hits among the first k, out of k; an empty place is a miss."""
    return _hits(judged, k).sum(1) / k + 0 * judged.positives_or_nan


def hit(judged: Judged, k: int) -> Tensor:
    """Whether the first k hold any positive."""
    return _hits(judged, k).amax(1) + 0 * judged.positives_or_nan


def ndcg(judged: Judged, k: int) -> Tensor:
    """Gains discounted by the logarithm of their place, out of the best order's (Järvelin and Kekäläinen, 2002).

    The gain is the grade itself; for 2^grade - 1, give such grades to `judge`.
    """
    _need(judged, k)
    discount = 1 / torch.arange(2, k + 2, dtype=torch.float64).log2()
    best = judged.ideal[:, :k] @ discount
    return judged.gains[:, :k] @ discount / best.masked_fill(best == 0, torch.nan)


def mrr(judged: Judged, k: int) -> Tensor:
    """One over the place of the first positive among the first k; 0 when there is none."""
    return (_hits(judged, k) / _places(k)).amax(1) + 0 * judged.positives_or_nan


def mean_average_precision(judged: Judged, k: int) -> Tensor:
    """Precision at each hit among the first k, summed, out of min(k, positives)."""
    return _precision_sum(judged, k) / judged.positives_or_nan.clamp(max=k)


def uncapped_mean_average_precision(judged: Judged, k: int) -> Tensor:
    """Precision at each hit among the first k, summed, out of all positives."""
    return _precision_sum(judged, k) / judged.positives_or_nan


METRICS: Mapping[str, Metric] = {
    "recall": recall,
    "uncapped_recall": uncapped_recall,
    "precision": precision,
    "hit": hit,
    "ndcg": ndcg,
    "mrr": mrr,
    "map": mean_average_precision,
    "uncapped_map": uncapped_mean_average_precision,
}


def expected_recall(ranks: TiedRanks, positives: Tensor, k: int) -> Tensor:
    """Recall@k averaged over all orders of equal scores; ranks of every positive, positives [U] -> [U]."""
    found = ((k - ranks.above) / (ranks.tied + 1)).clamp(0, 1).double()
    return _per_user(found, ranks) / _or_nan(positives).clamp(max=k)


def expected_ndcg(ranks: TiedRanks, positives: Tensor, k: int) -> Tensor:
    """Binary NDCG@k averaged over all orders of equal scores (McSherry and Najork, 2008)."""
    discount = 1 / torch.arange(2, k + 2, dtype=torch.float64).log2()
    total = torch.nn.functional.pad(discount.cumsum(0), (1, 0))  # [k + 1], worth of the first places
    stop = (ranks.above + ranks.tied + 1).clamp(max=k)
    gain = (total[stop] - total[ranks.above.clamp(max=k)]) / (ranks.tied + 1)
    best = total[positives.clamp(max=k)]
    return _per_user(gain, ranks) / best.masked_fill(positives == 0, torch.nan)


def _need(judged: Judged, k: int) -> None:
    width = judged.gains.shape[1]
    require(1 <= k <= width, f"cutoff {k} needs ranked lists of at least {k} places, these have {width}; rank deeper")


def _hits(judged: Judged, k: int) -> Tensor:
    _need(judged, k)
    return (judged.gains[:, :k] > 0).double()


def _places(k: int) -> Tensor:
    return torch.arange(1, k + 1, dtype=torch.float64)


def _precision_sum(judged: Judged, k: int) -> Tensor:
    hits = _hits(judged, k)
    return (hits.cumsum(1) / _places(k) * hits).sum(1)


def _or_nan(positives: Tensor) -> Tensor:
    return positives.double().masked_fill(positives == 0, torch.nan)


def _per_user(values: Tensor, ranks: TiedRanks) -> Tensor:
    return torch.zeros(ranks.num_users, dtype=torch.float64).index_add_(0, ranks.row, values.double())
