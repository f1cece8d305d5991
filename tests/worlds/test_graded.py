"""The world of graded lists is what its docstring says."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from recsys.worlds.graded import HABIT, QUALITY, TOPIC, GradedWorld


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    world = GradedWorld(num_queries=20, num_checked=10, pool=3, bias=1.0, skew=0.5, shift=True)
    one, two = world.sample(3), world.sample(3)
    for held, again in zip(one, two, strict=True):
        assert all(torch.equal(getattr(held, field.name), getattr(again, field.name)) for field in fields(held))
    assert not torch.equal(one.truth.grade, world.sample(4).truth.grade)


@pytest.mark.parametrize("relevant", [0.1, 0.25])
def test_relevant_documents_are_as_many_as_told_and_grades_are_quarters(relevant: float) -> None:
    grade = GradedWorld(relevant=relevant).sample(0).truth.grade
    assert float((grade > 0).float().mean()) == pytest.approx(relevant, abs=0.01)
    for level in range(1, 5):
        assert float((grade[grade > 0] == level).float().mean()) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("quality", [0.0, 0.8, 1.0])
def test_expected_gains_are_the_means_of_the_gains(quality: float) -> None:
    truth = GradedWorld(quality=quality, num_checked=3000).sample(1).truth
    gain, drawn = truth.gain.flatten(), 2.0 ** truth.grade.flatten() - 1
    for low, high in ((0.0, 0.5), (0.5, 3.0), (3.0, 15.1)):
        held = (gain >= low) & (gain < high)
        assert float(drawn[held].mean()) == pytest.approx(float(gain[held].mean()), rel=0.08)


def test_quality_decides_grades_of_the_relevant_only_if_it_is_on() -> None:
    for quality in (0.0, 0.8):
        world = GradedWorld(quality=quality, hard=0.0)
        logs, truth = world.sample(0)
        _, direction = world._directions(0)
        relevant = truth.grade > 0
        both = torch.stack([(logs.offline_features[..., QUALITY] @ direction)[relevant], truth.grade[relevant].float()])
        assert float(torch.corrcoef(both)[0, 1]) == pytest.approx(quality * 0.93, abs=0.05)


def test_without_switches_the_views_differ_in_errors_of_judgement_only() -> None:
    logs, truth = GradedWorld().sample(0)
    assert torch.equal(logs.offline_features, logs.online_features)
    assert torch.equal(logs.offline_pool, logs.online_pool)
    for label in (logs.offline_label, logs.online_label):
        wrong = label != truth.grade
        assert float(wrong.float().mean()) < 0.05
        assert int((label - truth.grade).abs().max()) == 1


def test_each_switch_moves_its_own_view() -> None:
    plain = GradedWorld().sample(0).logs
    biased = GradedWorld(bias=1.0).sample(0).logs
    assert float((biased.offline_label > 0).sum() / (plain.offline_label > 0).sum()) < 0.5
    assert torch.equal(biased.online_label, plain.online_label)
    skewed = GradedWorld(skew=1.0).sample(0).logs
    assert torch.equal(skewed.online_features[..., TOPIC], skewed.offline_features[..., TOPIC])
    assert not torch.equal(skewed.online_features[..., QUALITY], skewed.offline_features[..., QUALITY])
    assert torch.equal(skewed.online_features[..., HABIT], skewed.offline_features[..., HABIT])
    pooled, truth = GradedWorld(pool=7).sample(0)
    assert int((pooled.online_pool & ~pooled.offline_pool).sum(1).unique()) == 7
    assert int(truth.grade[:, 40:].sum()) == 0


@pytest.mark.parametrize("mix", [False, True])
def test_hard_queries_have_the_traffic_only_with_the_mix(mix: bool) -> None:
    world = GradedWorld(shift=mix, num_checked=2000)
    logs = world.sample(0).logs
    hard = world._hard(0, "check", 2000)
    share = float(logs.traffic[hard].sum())
    assert float(logs.traffic.sum()) == pytest.approx(1, abs=1e-4)
    assert (share > 0.4) == mix


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="quality is a correlation"):
        GradedWorld(quality=2.0)
