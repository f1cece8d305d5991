"""The audit of position bias: its signals against independent computations, and what it says of plain logs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence
from recsys.diagnose.logistic import Logistic, within_lists
from recsys.diagnose.position import DELAY, POSITION, SHIFT, PositionBiasAudit
from recsys.diagnose.slate_signals import looks, missing_carts, old_ranker
from recsys.diagnose.slates import DebiasedCurve, LoggedSlates
from recsys.random import torch_rng


def slates(num: int = 6000, width: int = 6, learnt: float = 0.0, seed: int = 0) -> LoggedSlates:
    """Half the lists in random order, half by an old score; the model's score is the worth and a share of the old one."""
    generator = torch_rng(seed, "slates")
    features = torch.randn(num, width, 2, generator=generator)
    worth, old = features[..., 0], features[..., 1]
    randomised = torch.arange(num) % 2 == 0
    order = torch.where(randomised[:, None], torch.randn(num, width, generator=generator), old)
    position = 1 + order.argsort(1, descending=True).argsort(1)
    wish = torch.sigmoid(2 * worth - 0.5)
    click = (torch.rand(num, width, generator=generator) < wish / position).float()
    cart = click * (torch.rand(num, width, generator=generator) < torch.sigmoid(2 * worth))
    return LoggedSlates(
        position=position,
        click=click,
        score=worth + learnt * old,
        features=features,
        randomised=randomised,
        cart=cart,
        logged_score=old,
        day=torch.linspace(0, 28, num),
    )


def said(held: LoggedSlates) -> str:
    return PositionBiasAudit()(Evidence.of(held)).cause


def test_logistic_is_that_of_sklearn() -> None:
    rows = torch.randn(500, 3, generator=torch_rng(0, "rows"))
    answer = (
        torch.rand(500, generator=torch_rng(1, "answer")) < torch.sigmoid(rows @ torch.tensor([1.0, -2.0, 0.0]) - 1)
    ).float()
    wanted = LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(rows.numpy(), answer.numpy())
    np.testing.assert_allclose(Logistic.fit(rows, answer).weight.numpy(), wanted.coef_[0], atol=1e-3)
    assert bool(Logistic.fit(torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, 1.0])).weight.isfinite().all())


def test_standard_errors_are_those_of_repeated_draws() -> None:
    found = []
    for seed in range(200):
        rows = torch.randn(300, 2, generator=torch_rng(seed, "rows"))
        click = (torch.rand(300, generator=torch_rng(seed, "click")) < torch.sigmoid(rows[:, 0])).float()
        found.append(Logistic.fit(rows, click))
    spread = torch.stack([held.weight for held in found]).std(0)
    torch.testing.assert_close(torch.stack([held.error for held in found]).mean(0), spread, rtol=0.15, atol=0)


def test_within_lists_leaves_out_what_is_not_there() -> None:
    held = within_lists(
        torch.tensor([[1.0, 3.0, 99.0], [5.0, 5.0, 5.0]]), torch.tensor([[True, True, False], [True] * 3])
    )
    assert held[0, 0] == -held[0, 1]
    assert held[0, 2] == 0
    assert held[1].tolist() == [0, 0, 0]


def test_looks_of_random_lists() -> None:
    held = slates(20_000)
    assert held.randomised is not None
    found = looks(held, held.randomised)
    assert found.effect == pytest.approx(1.0, abs=0.06)
    assert found.z > 10


def test_missing_carts_are_counted() -> None:
    held = slates()
    assert held.day is not None
    assert held.cart is not None
    late = replace(held, cart=torch.where(held.day[:, None] > 28 * 0.95, torch.zeros(()), held.cart))
    assert missing_carts(late, 0.05).effect == pytest.approx(1)
    assert missing_carts(held, 0.05).z < 3


def test_the_old_ranker_is_found_in_features_and_groups() -> None:
    held = slates()
    assert held.randomised is not None
    guess, share = old_ranker(held, ~held.randomised)
    assert share > 0.8
    assert float(torch.corrcoef(torch.stack([guess.flatten(), held.features[..., 1].double().flatten()]))[0, 1]) > 0.95
    group = torch.randint(0, 50, held.position.shape, generator=torch_rng(0, "group"))
    effect = torch.randn(50, generator=torch_rng(0, "effect"))
    position = 1 + effect[group].argsort(1, descending=True).argsort(1)
    grouped = replace(held, features=held.features[..., :0], group=group, position=position)
    assert old_ranker(grouped, torch.ones(len(position), dtype=torch.bool))[1] > 0.7
    assert old_ranker(replace(grouped, group=None), torch.ones(len(position), dtype=torch.bool))[1] == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_score_that_learnt_places_is_named_and_a_clean_one_is_not(seed: int) -> None:
    assert said(slates(learnt=1.0, seed=seed)) == POSITION
    assert said(slates(learnt=0.0, seed=seed)) == HEALTHY
    assert said(replace(slates(learnt=1.0, seed=seed), logged_score=None)) == POSITION


def test_without_random_lists_it_asks_for_them() -> None:
    found = PositionBiasAudit()(Evidence.of(replace(slates(learnt=1.0), randomised=None)))
    assert found.cause == ABSTAIN
    assert "random order" in (found.next_experiment or "")


def test_rivals_are_told_apart() -> None:
    held = slates()
    assert held.day is not None
    assert held.cart is not None
    late = held.day[:, None] > 28 * 0.95
    assert said(replace(held, cart=torch.where(late, torch.zeros(()), held.cart))) == DELAY
    second = held.day[:, None] > 14
    assert said(replace(held, score=torch.where(second, -held.score, held.score))) == SHIFT


def test_shorter_lists_and_missing_parts() -> None:
    held = slates(learnt=1.0)
    position = held.position.clone()
    position[position > 4] = 0
    click = held.click * (position > 0)
    assert (
        said(replace(held, position=position, click=click, cart=None, day=None, features=held.features[..., :0]))
        == POSITION
    )
    with pytest.raises(ValueError, match="click must be"):
        replace(held, click=held.click[:, :3])


def test_curves_that_part_are_a_row() -> None:
    curve = DebiasedCurve((0.5, 0.6, 0.7), (0.6, 0.55, 0.5))
    rows = PositionBiasAudit()(Evidence.of(slates(), curve)).evidence
    assert rows[-1].value == pytest.approx(0.1 * 0.05)
