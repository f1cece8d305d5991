"""Propensities are recovered from clicks that a known model of looks made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from recsys.propensity.clicks import click_rates
from recsys.propensity.harvest import harvested, pair_wins
from recsys.propensity.regression_em import RegressionEM, posterior
from recsys.propensity.weights import effective_share, inverse
from recsys.random import torch_rng


def clicks(num: int, width: int, eta: float, strength: float, seed: int = 0) -> dict[str, Tensor]:
    """Lists of a ranker that follows the relevance with some strength; items shown twice."""
    generator = torch_rng(seed, "lists")
    half = torch.randn(num // 2, width, 3, generator=generator)
    features = half.repeat(2, 1, 1)
    item = torch.arange(num // 2 * width).view(-1, width).repeat(2, 1)
    wish = torch.sigmoid(features @ torch.tensor([1.0, -0.5, 0.0]) - 0.5)
    order = strength * wish + torch.randn(wish.shape, generator=generator)
    position = 1 + order.argsort(1, descending=True).argsort(1)
    look = position.double() ** -eta
    click = (torch.rand(wish.shape, generator=generator) < look * wish).float()
    group = torch.zeros_like(position)
    return {"features": features, "item": item, "group": group, "position": position, "click": click}


def truth(width: int, eta: float) -> Tensor:
    return torch.arange(1, width + 1, dtype=torch.float64) ** -eta


@pytest.mark.parametrize(("width", "eta"), [(5, 1.0), (3, 0.5), (8, 0.0)])
def test_click_rates_of_random_lists_are_the_propensities_and_of_ranked_ones_are_too_steep(
    width: int, eta: float
) -> None:
    drawn, ranked = clicks(40_000, width, eta, 0.0), clicks(40_000, width, eta, 5.0)
    torch.testing.assert_close(
        click_rates(drawn["click"], drawn["position"], width), truth(width, eta), atol=0.02, rtol=0
    )
    steep = click_rates(ranked["click"], ranked["position"], width)
    assert float(steep[-1]) < float(truth(width, eta)[-1]) * 0.8


def test_click_rates_skip_empty_places() -> None:
    click, position = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 9.0]]), torch.tensor([[1, 2, 0], [1, 2, 0]])
    assert click_rates(click, position, 3).tolist() == [1.0, 0.5, 0.0]
    with pytest.raises(ValueError, match="first place"):
        click_rates(torch.zeros(2, 3), position, 3)
    with pytest.raises(ValueError, match="position above 1"):
        click_rates(click, position, 1)


@pytest.mark.parametrize(("width", "eta"), [(4, 1.0), (6, 0.5)])
def test_harvested_propensities_survive_a_ranker(width: int, eta: float) -> None:
    held = clicks(60_000, width, eta, 5.0)
    found = harvested(held["item"], held["click"], held["position"], width)
    torch.testing.assert_close(found, truth(width, eta), atol=0.05, rtol=0)


def test_pair_wins_are_those_of_a_loop() -> None:
    held = clicks(14, 4, 1.0, 1.0)
    held["position"][3, 2] = 0
    wins = np.zeros((4, 4))
    seen: dict[int, dict[int, list[float]]] = {}
    for item, place, click in zip(
        *(held[name].flatten().tolist() for name in ("item", "position", "click")), strict=True
    ):
        if place:
            seen.setdefault(item, {}).setdefault(place, []).append(click)
    for places in seen.values():
        for k, at_k in places.items():
            for other in places:
                if other != k:
                    wins[k - 1, other - 1] += sum(at_k) / len(at_k)
    np.testing.assert_allclose(pair_wins(held["item"], held["click"], held["position"], 4).numpy(), wins)


def test_a_place_that_no_item_links_to_the_first_is_unknown() -> None:
    item = torch.tensor([[0, 1, 2], [1, 0, 2]])
    position = torch.tensor([[1, 2, 3], [1, 2, 3]])
    found = harvested(item, torch.ones(2, 3), position, 3)
    assert found[:2].tolist() == pytest.approx([1, 1])
    assert bool(found[2].isnan())


@pytest.mark.parametrize("strength", [1.0, 5.0])
def test_regression_em_recovers_propensities_where_its_regression_is_right(strength: float) -> None:
    held = clicks(20_000, 5, 1.0, strength)
    found = RegressionEM(rounds=200)(held["features"], held["group"], held["click"], held["position"], 5)
    torch.testing.assert_close(found, truth(5, 1.0), atol=0.05, rtol=0)


def test_the_posterior_is_bayes_rule() -> None:
    for look, wish in ((0.3, 0.8), (0.99, 0.5)):
        seen, wanted = posterior(torch.tensor([look, look]), torch.tensor([wish, wish]), torch.tensor([1.0, 0.0]))
        none = look * (1 - wish) + (1 - look) * wish + (1 - look) * (1 - wish)
        assert seen.tolist() == pytest.approx([1, look * (1 - wish) / none], rel=1e-5)
        assert wanted.tolist() == pytest.approx([1, (1 - look) * wish / none], rel=1e-5)


def test_effective_share_of_weights() -> None:
    assert effective_share(torch.full((7,), 3.0)) == pytest.approx(1)
    assert effective_share(torch.tensor([1.0, 0, 0, 0])) == pytest.approx(0.25)
    assert inverse(torch.tensor([1.0, 0.5, 0.001]), 0.1).tolist() == pytest.approx([1, 2, 10])
    with pytest.raises(ValueError, match="floor"):
        inverse(torch.ones(1), 0.0)
