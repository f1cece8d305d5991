"""Propensities, priors, soft labels and the review queue against sklearn, enumeration and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from recsys.random import rng
from recsys.samplers.review import ReviewQueue, proportional
from recsys.selection import PriorEstimator, PropensityModel, PseudoLabeler, covered, elkan_noto


@pytest.mark.parametrize(("rows", "width"), [(40, 3), (500, 17)])
def test_the_propensity_model_is_sklearn_s(rows: int, width: int) -> None:
    draw = rng(rows, "propensity")
    x = draw.normal(size=(rows, width))
    looked = draw.random(rows) < 1 / (1 + np.exp(-x[:, 0] - 1))
    theirs = LogisticRegression(C=1 / 2.0, tol=1e-10, max_iter=1000).fit(x, looked).predict_proba(x)[:, 1]
    ours = PropensityModel(ridge=2.0)(torch.from_numpy(x), torch.from_numpy(looked))
    assert np.allclose(ours.numpy(), theirs, atol=1e-5)


def test_the_prior_is_unbiased_over_audits_and_its_error_is_their_spread() -> None:
    draw, found = rng(0, "prior"), []
    y, queued = (draw.random(4000) < 0.1).astype(np.float32), draw.random(4000) < 0.2
    label = torch.from_numpy(np.where(queued, y, np.nan))
    for _ in range(300):
        audit = torch.from_numpy(np.where(draw.random(4000) < 0.1, y, np.nan))
        found.append(PriorEstimator()(torch.from_numpy(queued), label, audit))
    shares = np.array([held.share for held in found])
    assert shares.mean() == pytest.approx(y.mean(), abs=3 * shares.std() / 300**0.5)
    assert np.mean([held.error for held in found]) == pytest.approx(shares.std(), rel=0.15)
    assert np.mean([held.hidden for held in found]) == pytest.approx(y[~queued].sum() / y.sum(), abs=0.02)
    assert np.mean([held.hidden_error for held in found]) == pytest.approx(np.std([h.hidden for h in found]), rel=0.3)


def test_a_prior_without_an_audit_of_the_rest_is_refused() -> None:
    nothing = torch.full((3,), torch.nan)
    with pytest.raises(ValueError, match="no audited row"):
        PriorEstimator()(torch.tensor([True, False, False]), torch.tensor([1.0, torch.nan, torch.nan]), nothing)
    full = PriorEstimator()(torch.ones(3, dtype=torch.bool), torch.tensor([1.0, 0.0, 0.0]), nothing)
    assert (full.share, full.error, full.hidden) == (pytest.approx(1 / 3), 0.0, 0.0)


def test_people_s_labels_are_kept_and_the_rest_is_soft() -> None:
    label, logits = torch.tensor([1.0, torch.nan, 0.0]), torch.tensor([-9.0, 1.0, 9.0])
    assert torch.allclose(PseudoLabeler()(label, logits), torch.tensor([1.0, 0.7311, 0.0]), atol=1e-4)
    assert float(PseudoLabeler(sharpen=0.1)(label, logits)[1]) > 0.99


def test_elkan_noto_is_the_label_frequency_of_a_calibrated_score() -> None:
    draw = rng(0, "elkan")
    chance = draw.beta(0.1, 0.1, size=200_000).round()  # separable classes: the assumption under which it is exact
    labelled = (draw.random(len(chance)) < 0.3) & (chance == 1)
    assert elkan_noto(0.3 * chance, labelled) == pytest.approx(0.3)


def test_covered_is_the_chance_of_either_look() -> None:
    assert torch.allclose(covered(torch.tensor([0.0, 0.5, 1.0]), 0.1), torch.tensor([0.1, 0.55, 1.0]))


@pytest.mark.parametrize(("rows", "budget", "explore"), [(1, 1.0, 0.5), (30, 0.2, 0.1), (501, 0.5, 0.0), (9, 0.3, 1.0)])
def test_the_queue_spends_its_budget_and_leaves_nobody_out(rows: int, budget: float, explore: float) -> None:
    priority = rng(rows, "priority").pareto(1.0, rows)
    chance = ReviewQueue(budget=budget, explore=explore).propensity(priority)
    assert chance.sum() == pytest.approx(budget * rows)
    assert chance.min() >= budget * explore - 1e-12
    assert chance.max() <= 1 + 1e-9
    order = np.argsort(priority)
    assert (np.diff(chance[order]) >= -1e-9).all()


def test_who_is_drawn_follows_the_logged_chance() -> None:
    queue, priority, draw = ReviewQueue(budget=0.3, explore=0.2), np.arange(6.0), rng(0, "queue")
    taken = np.mean([queue(priority, draw)[0] for _ in range(4000)], axis=0)
    assert np.allclose(taken, queue.propensity(priority), atol=0.03)
    assert proportional(np.zeros(4), 2.0, 1.0).sum() == pytest.approx(2.0)
