"""What is special to the problem of ads that nobody reviewed."""

from __future__ import annotations

import torch

from problems.s11q3_hidden_positives import PROBLEM, recipe
from recsys.recipes.moderation import Reviewed
from recsys.train.fit import Fit
from recsys.worlds.policy_ads import PolicyAds

SMALL = {"num_ads": 600, "num_fresh": 200}


def test_the_truth_is_the_same_ads_with_everything_reviewed() -> None:
    truth, baseline = (PROBLEM.build(arm, SMALL).world.sample(5) for arm in ("truth", "baseline"))
    assert torch.equal(truth.logs.counts, baseline.logs.counts)
    assert torch.equal(truth.logs.label, baseline.truth.violating)


def test_with_everything_reviewed_the_student_is_the_baseline() -> None:
    weights = []
    for arm in ("baseline", "student"):
        held = PROBLEM.build(arm, {**SMALL, "coverage": 1.0, "audit": 0.0})
        trained = held.fit(held.world.sample(2).logs, 2).trained.model
        weights.append(torch.cat([p.flatten() for p in trained.parameters()]))
    assert torch.equal(*weights)


def test_estimated_propensities_are_near_the_logged_ones_and_never_see_a_label() -> None:
    held = recipe(estimated=True, objective=Reviewed())
    logs = PolicyAds(num_ads=6000).sample(0).logs
    rows = held.rows(logs)
    assert float((rows.propensity - logs.propensity).abs().mean()) < 0.05
    blind = type(logs)(**{**vars(logs), "label": torch.where(logs.queued, 0.0, torch.nan)})
    assert torch.equal(held.rows(blind).propensity, rows.propensity)


def test_unreviewed_rows_have_no_say_where_only_reviewed_ones_count() -> None:
    logs = PolicyAds(num_ads=400, num_fresh=10).sample(0).logs
    rows = recipe(objective=Reviewed()).rows(logs)
    logits = torch.zeros(400, 1, requires_grad=True)
    Reviewed()(logits, rows).mean().backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[:, 0] != 0, logs.queued)


def test_any_sane_setting_is_accepted() -> None:
    held = recipe(**SMALL, prevalence=0.2, selection=0.3, audit=0.1)
    short = type(held)(world=held.world, objective=held.objective, train=Fit(steps=2))
    logs, truth = short.world.sample(0)
    assert short.evaluate(short.fit(logs, 0), logs, truth)["ap"] > 0
