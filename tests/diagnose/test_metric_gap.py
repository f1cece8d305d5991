"""The attribution adds up, gives a single factor all, and finds planted causes in plain arrays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence
from recsys.diagnose.metric_gap import (
    COLLAPSE,
    FACTORS,
    LABELS,
    POOL,
    SIGNAL,
    SKEW,
    TRAFFIC,
    GradedProbe,
    MetricGapAttribution,
    TwoViews,
    attribution,
)
from recsys.evaluate.graded import exponential
from recsys.evaluate.metrics import mean_average_precision, ndcg
from recsys.evaluate.slates import judged, mean_known
from recsys.random import torch_rng

NOTHING = GradedProbe(0.7, 0.7, 0.01)


def views(num: int = 400, width: int = 20, graded: bool = True, seed: int = 0) -> TwoViews:
    """Scores that follow the grade, or only whether it is above 0, with a little noise."""
    generator = torch_rng(seed, "views")
    relevant = torch.rand(num, width, generator=generator) < 0.3
    grade = torch.randint(1, 5, (num, width), generator=generator) * relevant
    score = (grade.float() if graded else 2.5 * relevant) + 0.6 * torch.randn(num, width, generator=generator)
    everything = torch.ones(num, width, dtype=torch.bool)
    return TwoViews(score, score, grade, grade, everything, everything, torch.ones(num))


def said(held: TwoViews, probe: GradedProbe = NOTHING) -> str:
    return MetricGapAttribution()(Evidence.of(held, probe)).cause


def test_the_ends_are_map_and_ndcg_and_the_parts_add_up() -> None:
    held = views(num=60, graded=False)
    held = replace(held, online_label=held.online_label.roll(1, 0), traffic=torch.rand(60, generator=torch_rng(0, "t")))
    found = attribution(held, draws=3)
    binary = judged(held.offline_score, (held.offline_label > 0).double())
    assert found.offline == pytest.approx(mean_known(mean_average_precision(binary, 10)))
    online = ndcg(judged(held.online_score, exponential(held.online_label)), 3)
    known = ~online.isnan()
    weight = held.traffic[known].double()
    assert found.online == pytest.approx(float((online[known] * weight).sum() / weight.sum()))
    assert float(found.lost.sum()) == pytest.approx(found.offline - found.online)
    unchanged = found.lost[[FACTORS.index("pool"), FACTORS.index("features")]]
    torch.testing.assert_close(unchanged, torch.zeros_like(unchanged), atol=1e-12, rtol=0)
    assert sum(found.shares().values()) == pytest.approx(1)


def test_queries_without_a_relevant_document_change_nothing() -> None:
    held = views(num=50)
    copied = ("offline_score", "online_score", "offline_pool", "online_pool")
    more = {name: torch.cat([getattr(held, name), getattr(held, name)[:5]]) for name in copied}
    for name in ("offline_label", "online_label"):
        more[name] = torch.cat([getattr(held, name), torch.zeros_like(getattr(held, name)[:5])])
    empty = replace(held, **more, traffic=torch.ones(55))
    torch.testing.assert_close(attribution(empty, draws=2).lost, attribution(held, draws=2).lost)


def test_errors_are_those_of_drawing_queries_again() -> None:
    spread = torch.stack(
        [attribution(views(num=100, graded=False, seed=seed), draws=2).lost for seed in range(40)]
    ).std(0)
    error = attribution(views(num=100, graded=False), draws=200).error
    torch.testing.assert_close(error[:3], spread[:3], rtol=0.4, atol=0)


def test_a_graded_model_is_healthy_and_a_binary_one_is_judged_by_the_probe() -> None:
    assert said(views()) == HEALTHY
    assert said(views(graded=False), GradedProbe(0.4, 0.7, 0.01)) == COLLAPSE
    assert said(views(graded=False), GradedProbe(0.4, 0.41, 0.01)) == SIGNAL
    asked = MetricGapAttribution()(Evidence.of(views(graded=False)))
    assert asked.cause == ABSTAIN
    assert "GradedProbe" in (asked.next_experiment or "")


def test_each_view_that_is_spoilt_is_named() -> None:
    held = views()
    shuffled = held.offline_score[:, torch.randperm(20, generator=torch_rng(0, "order"))]
    assert said(replace(held, online_score=shuffled)) == SKEW
    assert said(replace(held, online_label=held.online_label.roll(1, 1))) == LABELS
    poor = torch.arange(400) < 40
    mixed = replace(held, online_score=torch.where(poor[:, None], shuffled, held.offline_score))
    mixed = replace(mixed, offline_score=mixed.online_score, traffic=torch.where(poor, 50.0, 1.0))
    assert said(mixed) == TRAFFIC
    lures = held.offline_label == 0
    tempting = torch.where(lures & (torch.arange(20) < 6), held.offline_score + 9, held.offline_score)
    pooled = replace(held, offline_score=tempting, online_score=tempting, offline_pool=tempting < 6.5)
    assert said(pooled) == POOL


def test_shapes_that_do_not_match_are_refused() -> None:
    held = views(num=5)
    with pytest.raises(ValueError, match="online_label must be"):
        replace(held, online_label=held.online_label[:3])
    with pytest.raises(ValueError, match="traffic"):
        replace(held, traffic=torch.ones(4))
