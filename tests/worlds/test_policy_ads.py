"""The world of ads against its own statement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.evaluate.classification import auc
from recsys.evaluate.soft import average_precision
from recsys.worlds.policy_ads import PolicyAds, PolicyAdsLogs
from recsys.worlds.truth_policy_ads import PolicyAdsTruth


def sampled(seed: int = 0, **settings: object) -> tuple[PolicyAds, PolicyAdsLogs, PolicyAdsTruth]:
    world = PolicyAds(**settings)  # type: ignore[arg-type]
    logs, truth = world.sample(seed)
    return world, logs, truth


def test_rates_are_as_stated() -> None:
    world, logs, truth = sampled(num_ads=60_000)
    bad = truth.violating == 1
    assert float(bad.float().mean()) == pytest.approx(0.06, abs=0.004)
    assert float((truth.style[bad] == 0).float().mean()) == pytest.approx(0.38, abs=0.03)
    assert (logs.counts.sum(1) == world.length).all()
    hit = logs.legacy_score > 0
    assert float(logs.queued[hit].float().mean()) == pytest.approx(0.85, abs=0.02)
    assert float(logs.queued[~hit].float().mean()) == pytest.approx(0.04, abs=0.005)
    assert 0.55 < 1 - float(logs.queued[bad].float().mean()) < 0.72
    assert float(logs.audited.float().mean()) == pytest.approx(0.02, abs=0.003)
    assert torch.equal(logs.label[logs.queued], truth.violating[logs.queued])
    assert logs.label[~logs.queued].isnan().all()


def test_selection_at_random_doesn_t_know_the_ad_and_coverage_hides_nothing() -> None:
    _, logs, _ = sampled(selection=0.0)
    assert auc(logs.queued.double().numpy(), logs.legacy_score.double().numpy()) == pytest.approx(0.5, abs=0.02)
    _, full, truth = sampled(coverage=1.0)
    assert torch.equal(full.label, truth.violating)


def test_moderators_err_at_the_stated_rate_and_independently() -> None:
    _, logs, truth = sampled(coverage=1.0, reviewer_error=0.3, re_review=1.0, num_ads=60_000)
    bad = truth.violating == 1
    first, second = logs.label == truth.violating, logs.second == truth.violating
    assert float(first[bad].float().mean()) == pytest.approx(0.7, abs=0.03)
    assert float(first[~bad].float().mean()) == pytest.approx(0.97, abs=0.004)
    assert float((first & second)[bad].float().mean()) == pytest.approx(0.49, abs=0.03)
    assert torch.equal(logs.audit_label[logs.audited], truth.violating[logs.audited])


def test_the_posterior_is_calibrated_and_nothing_ranks_better() -> None:
    world = PolicyAds(num_ads=60_000)
    logs, truth = world.sample(1)
    chance = world.posterior(logs.counts.numpy(), world.word_chances(1)).sum(1)
    y = truth.violating.double().numpy()
    for low, high in ((0.0, 0.05), (0.05, 0.5), (0.5, 0.9), (0.9, 1.01)):
        inside = (chance >= low) & (chance < high)
        error = 4 * (chance[inside] * (1 - chance[inside])).mean() ** 0.5 / inside.sum() ** 0.5
        assert y[inside].mean() == pytest.approx(chance[inside].mean(), abs=error)
    best = average_precision(chance, y, 1 - y)
    rule = average_precision(logs.legacy_score.double().numpy(), y, 1 - y)
    assert 0.9 < best < 1.0
    assert rule < best - 0.3


def test_the_same_seed_gives_the_same_bits_and_streams_don_t_touch_each_other() -> None:
    _, once, truth = sampled()
    _, again, _ = sampled()
    assert torch.equal(once.counts, again.counts)
    _, other, held = sampled(coverage=1.0, reviewer_error=0.2, audit=0.1)
    assert torch.equal(once.counts, other.counts)
    assert torch.equal(truth.chance, held.chance)
    assert not torch.equal(once.counts, sampled(1)[1].counts)


def test_a_share_outside_of_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="prevalence"):
        PolicyAds(prevalence=1.5)
    with pytest.raises(ValueError, match="review_miss"):
        PolicyAds(review_miss=0.0)


def test_propensities_are_of_the_score_alone() -> None:
    _, logs, _ = sampled(selection=0.5)
    levels = [logs.propensity[logs.legacy_score == score].unique() for score in logs.legacy_score.unique()]
    assert all(len(held) == 1 for held in levels)
    assert len(np.unique(logs.propensity.numpy())) == 2
