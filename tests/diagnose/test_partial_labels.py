"""The audit of partial labels names planted causes from numbers that anybody could fill in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from recsys.diagnose.diagnosis import HEALTHY, Evidence
from recsys.diagnose.partial_labels import DepthProbe, PartialLabelAudit, TreePredictions, TreeRefits, _area, _gain
from recsys.diagnose.word_probe import cross_fitted_log_odds

N = 600


def healthy() -> tuple[TreePredictions, TreeRefits, DepthProbe]:
    g = torch.Generator().manual_seed(0)
    parents = (torch.zeros(2, dtype=torch.long), torch.tensor([0, 0, 1, 1]))
    level = torch.arange(N) % 2
    fine = torch.rand(N, 4, generator=g).softmax(1)
    coarse = torch.stack([fine[:, :2].sum(1), fine[:, 2:].sum(1)], 1)
    leaf = fine.argmax(1)
    right = (torch.rand(N, 2, generator=g) < 0.8).float()
    right[level == 0, 1] = torch.nan
    worse = (right * (torch.rand(N, 2, generator=g) < 0.8)).masked_fill(right.isnan(), torch.nan)
    predictions = TreePredictions((coarse, fine), parents, torch.stack([parents[1][leaf], leaf], 1), level)
    return predictions, TreeRefits(right, worse, right, 0.5), DepthProbe(level == 1, torch.rand(N, generator=g))


def said(*parts: TreePredictions | TreeRefits | DepthProbe) -> str:
    return PartialLabelAudit()(Evidence.of(*parts)).cause


def test_each_cause_is_named_and_health_too() -> None:
    predictions, refits, probe = healthy()
    assert said(predictions, refits, probe) == HEALTHY
    halved = (predictions.chances[0], predictions.chances[1] / 2)
    assert said(replace(predictions, chances=halved), refits, probe) == "deep_suppression"
    assert said(predictions, replace(refits, deepest_only=refits.own), probe) == "coarse_unused"
    useful = replace(refits, deepest_only=refits.own.flip(0))  # no less accurate, but another model
    assert said(predictions, useful, probe) == HEALTHY
    smaller = replace(refits, own=refits.deepest_only, deepest_only=refits.deepest_only * 0.5)
    assert said(predictions, smaller, probe) == "capacity"
    told = probe.predicted + 0.3 * probe.deep
    assert said(predictions, refits, replace(probe, predicted=told)) == "depth_selection"
    crossed = torch.stack([1 - predictions.places[:, 0], predictions.places[:, 1]], 1)
    assert said(replace(predictions, places=crossed), refits, probe) == "independent_levels"


def test_full_labels_have_nothing_unknown_and_no_coarse_rows() -> None:
    predictions, refits, probe = healthy()
    full = replace(predictions, level=torch.ones(N, dtype=torch.long))
    no_coarse = replace(refits, deepest_only=refits.own, coarse_share=0.0)
    assert said(full, no_coarse, replace(probe, deep=torch.ones(N, dtype=torch.bool))) == HEALTHY


def test_errors_are_those_of_repeated_draws() -> None:
    g = torch.Generator().manual_seed(1)
    gains, errors = [], []
    for _ in range(300):
        ours, theirs = (torch.rand(2, 200, 2, generator=g) < 0.7).float()
        for held in (ours, theirs):
            held[:150, 1] = torch.nan
        gain, error = _gain(ours, theirs)
        gains.append(gain)
        errors.append(error)
    assert torch.tensor(gains).std() == pytest.approx(sum(errors) / 300, rel=0.15)
    areas = []
    for _ in range(300):
        area, error = _area(DepthProbe(torch.arange(120) < 30, torch.rand(120, generator=g)))
        areas.append(area)
    assert torch.tensor(areas).std() == pytest.approx(error, rel=0.15)


def test_the_probe_never_sees_its_own_row() -> None:
    words = torch.arange(400)[:, None].expand(400, 5)  # every text in words of its own
    odds = cross_fitted_log_odds(words, torch.arange(400) % 2 == 0, 400, seed=3)
    assert odds.abs().max() < 1e-4
    common = torch.randint(0, 4, (400, 5), generator=torch.Generator().manual_seed(0))
    group = common[:, 0] < 2
    odds = cross_fitted_log_odds(common, group, 4, seed=3)
    assert (odds[group].mean() - odds[~group].mean()) > 0.2
