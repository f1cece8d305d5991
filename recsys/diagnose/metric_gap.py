"""Why a metric that was good offline is poor online, though both are of the same model."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row, strongest
from recsys.evaluate.graded import average_gain, exponential
from recsys.evaluate.metrics import ndcg
from recsys.evaluate.shapley import shapley
from recsys.evaluate.slates import judged
from recsys.random import torch_rng
from recsys.value import require, value

FACTORS = ("gain", "cutoff", "discount", "traffic", "labels", "pool", "features")  # what differs, offline to online
DEEP, SHORT = 10, 3  # cutoffs of MAP@10 offline and of NDCG@3 online
METRIC = 3  # the first three factors are of the metric itself
COLLAPSE, SIGNAL = "grades_ignored", "grades_not_in_features"
TRAFFIC, LABELS, POOL, SKEW = "query_mix", "biased_offline_labels", "candidate_pool", "feature_skew"


@dataclass(frozen=True)
class TwoViews(Part):
    """The same queries and documents as the offline set has them and as users met them.

    Where a view doesn't differ, give the same tensor twice; documents that only one side has are outside the other's
    pool. Grades are 0 (not relevant) to 4.
    """

    offline_score: Tensor  # [Q, D] of the model, from the features that the offline set holds
    online_score: Tensor  # [Q, D] of the same model, from the features logged at serving
    offline_label: Tensor  # [Q, D] int64
    online_label: Tensor  # [Q, D] int64, from feedback free of position bias, or weighted for it
    offline_pool: Tensor  # [Q, D] bool
    online_pool: Tensor  # [Q, D] bool
    traffic: Tensor  # [Q] how often each query comes

    def __post_init__(self) -> None:
        for name in ("online_score", "offline_label", "online_label", "offline_pool", "online_pool"):
            held = getattr(self, name)
            require(held.shape == self.offline_score.shape, f"{name} must be {list(self.offline_score.shape)}")
        require(self.traffic.shape == self.offline_score.shape[:1], "traffic must be [Q]")


@dataclass(frozen=True)
class GradedProbe(Part):
    """What a model with the same features and capacity comes to when it is fitted to the grades."""

    own: float  # NDCG@3 of the model under study, on held-out judged lists
    probe: float  # of the probe, on the same lists
    error: float  # standard error of the difference, paired by query


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each factor takes from the metric between offline and online, with bootstrap errors over queries."""

    offline: float
    online: float
    lost: Tensor  # [7] falls of the metric by FACTORS; they add up to offline - online
    error: Tensor  # [7]
    metric_error: float  # of the sum of the first three

    def shares(self) -> dict[str, float]:
        """Of all that was lost, by the metric's definition as one and the four others; what was gained counts as 0."""
        whole = torch.cat([self.lost[:METRIC].sum(0, keepdim=True), self.lost[METRIC:]]).clamp(min=0)
        parts = whole / whole.sum().clamp(min=1e-12)
        return dict(zip(("metric", *FACTORS[METRIC:]), parts.tolist(), strict=True))


def attribution(views: TwoViews, draws: int = 200) -> Attribution:
    """Shapley values over all 2^7 ways to measure the same scores; queries without a relevant document are left out."""
    table = _per_query(views)  # [64, Q]
    num = table.shape[1]
    drawn = torch.randint(num, (draws, num), generator=torch_rng(0, "bootstrap"))
    counts = torch.zeros(draws, num, dtype=torch.float64)
    counts = counts.scatter_add(1, drawn, torch.ones(draws, num, dtype=torch.float64))
    counts = torch.cat([torch.ones(1, num, dtype=torch.float64), counts])
    values = _all_ways(table, counts, views.traffic.double())
    lost = -shapley(values)
    spread = lost[1:].std(0)
    whole = float(lost[1:, :METRIC].sum(1).std())
    return Attribution(float(values[0, 0]), float(values[0, -1]), lost[0], spread, whole)


@value
class MetricGapAttribution:
    """The gap is shared out among what differs; what the metric's own definition takes is then put to a probe.

    `bound` is the fall that counts, of traffic, labels, pool or features; `definition` that of the metric's three factors
    together, which is larger, since no metric is another one even for a good model; `gain` is how much better at NDCG@3
    a probe fitted to the grades must be for the training to be at fault, and not the features. They lie between the
    healthy and the faulty worlds of development seeds; each effect must besides be `z` standard errors from none
    (bootstrap over queries; one-sided chance of one in a thousand).
    """

    bound: float = 0.05
    definition: float = 0.15
    gain: float = 0.05
    z: float = 3.1
    needs: ClassVar[tuple[type[Part], ...]] = (TwoViews,)
    causes: ClassVar[tuple[str, ...]] = (COLLAPSE, SIGNAL, TRAFFIC, LABELS, POOL, SKEW)

    def __call__(self, evidence: Evidence) -> Diagnosis:
        found, probe = attribution(evidence.get(TwoViews)), evidence.find(GradedProbe)
        rows = [Row(f"lost to {name}", float(x), self.bound) for name, x in zip(FACTORS, found.lost, strict=True)]
        rows += [Row("MAP@10 offline", found.offline), Row("NDCG@3 online", found.online)]
        lost, error = found.lost[METRIC:], found.error[METRIC:]
        scores = {
            cause: self._score(float(x), float(e), self.bound)
            for cause, x, e in zip((TRAFFIC, LABELS, POOL, SKEW), lost, error, strict=True)
        }
        metric = self._score(float(found.lost[:METRIC].sum()), found.metric_error, self.definition)
        if probe is not None:
            better = probe.probe - probe.own
            rows.append(Row("NDCG@3 that a probe fitted to the grades adds", better, self.gain))
            trained = better > self.gain and better > self.z * probe.error
            scores |= {COLLAPSE: metric if trained else 0.0, SIGNAL: 0.0 if trained else metric}
        cause = strongest(scores, self.causes)
        rejected = {name: "takes less than counts, or less than chance may" for name, x in scores.items() if x == 0}
        if probe is None and metric > max(scores.values(), default=0.0):
            ask = "fit the same model to the grades and compare NDCG@3 on held-out judged lists (GradedProbe)"
            return Diagnosis(ABSTAIN, scores, tuple(rows), ask, rejected)
        return Diagnosis(cause if scores.get(cause, 0) > 0 else HEALTHY, scores, tuple(rows), None, rejected)

    def _score(self, lost: float, error: float, bound: float) -> float:
        return lost / bound if lost > bound and lost > self.z * error else 0.0


def _per_query(views: TwoViews) -> Tensor:
    """[64, Q] values of each query: bits of gain, cutoff, discount, labels, pool, features, the lowest first."""
    rows = []
    for score, pool, label in product(
        (views.offline_score, views.online_score),
        (views.offline_pool, views.online_pool),
        (views.offline_label, views.online_label),
    ):
        scores, grades = score.masked_fill(~pool, -torch.inf), label * pool
        lists = judged(scores, (grades > 0).double()), judged(scores, exponential(grades))
        for metric, cutoff, held in product((average_gain, ndcg), (DEEP, SHORT), lists):
            rows.append(metric(held, min(cutoff, grades.shape[1])))
    return torch.stack(rows)


def _all_ways(table: Tensor, counts: Tensor, traffic: Tensor) -> Tensor:
    """[B, 128] means over queries, drawn counts [B, Q] times, of all ways to measure; traffic is bit 3."""
    known, held = (~table.isnan()).double(), table.nan_to_num()
    ways = []
    for weight in (counts, counts * traffic):
        means = (weight @ held.T) / (weight @ known.T)
        ways.append(means.view(len(counts), 8, 8))  # [B, labels pool features, gain cutoff discount]
    return torch.stack(ways, 2).flatten(1)
