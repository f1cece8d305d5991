"""Losses and towers that know of places."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from recsys.heads.position import SPEED, PositionTower
from recsys.heads.slate import SlateScorer
from recsys.losses.dual_learning import DualLearning
from recsys.losses.position_based import PositionBased
from recsys.losses.weighted_listwise import WeightedListwise
from recsys.random import torch_rng

SHAPES = [(1, 1), (3, 5), (7, 2)]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_rng(seed, "draw"), dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES)
def test_weighted_listwise_is_a_loop_over_clicks(shape: tuple[int, int]) -> None:
    logits, click, weight = draw(*shape), (draw(*shape, seed=1) > 0).double(), draw(*shape, seed=2).exp()
    loss = WeightedListwise()(logits, click, weight)
    for row in range(shape[0]):
        total = sum(math.exp(x) for x in logits[row].tolist())
        cells = zip(logits[row].tolist(), click[row].tolist(), weight[row].tolist(), strict=True)
        wanted = sum(w * c * (math.log(total) - x) for x, c, w in cells)
        assert float(loss[row]) == pytest.approx(wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_position_based_is_the_cross_entropy_of_the_product(shape: tuple[int, int]) -> None:
    item, place, click = draw(*shape), draw(*shape, seed=1), (draw(*shape, seed=2) > 0).double()
    wanted = F.binary_cross_entropy(item.sigmoid() * place.sigmoid(), click, reduction="none").sum(1)
    torch.testing.assert_close(PositionBased()(item, place, click), wanted)


def test_position_based_is_finite_where_probabilities_are_not() -> None:
    item = torch.tensor([[80.0, -80.0, 80.0]], requires_grad=True)
    loss = PositionBased()(item, torch.tensor([[80.0, 80.0, -80.0]]), torch.tensor([[0.0, 1.0, 1.0]]))
    loss.sum().backward()
    assert bool(loss.isfinite().all())
    assert item.grad is not None
    assert bool(item.grad.isfinite().all())


def test_dual_learning_weights_each_side_by_the_other_relative_to_the_first_place() -> None:
    item, place = draw(2, 3).requires_grad_(), draw(2, 3, seed=1).requires_grad_()
    click, position = torch.tensor([[1.0, 0, 1], [0, 0, 1]], dtype=torch.float64), torch.tensor([[2, 1, 3], [1, 3, 2]])
    loss = DualLearning()(item, place, click, position).detach()
    p, q = item.detach().softmax(1), place.detach().softmax(1)
    for row, first in enumerate((1, 0)):
        wanted = -sum(
            float(
                click[row, i]
                * (q[row, first] / q[row, i] * p[row, i].log() + p[row, first] / p[row, i] * q[row, i].log())
            )
            for i in range(3)
        )
        assert float(loss[row]) == pytest.approx(wanted)
    assert float(DualLearning(cap=1.0)(item, place, click, position).detach().sum()) < float(loss.sum())


def test_the_place_tower_sees_places_alone_and_drops_whole_lists_by_its_own_stream() -> None:
    tower = PositionTower(4, 0.5, torch_rng(0, "dropout"))
    with torch.no_grad():
        tower.logit.copy_(torch.tensor([1.0, 2, 3, 4]))
    position = torch.tensor([[1, 2], [4, 3]]).repeat(200, 1)
    tower.eval()
    assert tower(position)[1].tolist() == [4 * SPEED, 3 * SPEED]
    tower.train()
    torch.manual_seed(0)
    dropped = tower(position).eq(0)
    assert bool((dropped.all(1) | ~dropped.any(1)).all())
    assert float(dropped.float().mean()) == pytest.approx(0.5, abs=0.1)
    torch.manual_seed(1)
    again = PositionTower(4, 0.5, torch_rng(0, "dropout"))
    again.load_state_dict(tower.state_dict())
    assert torch.equal(again(position).eq(0), dropped)


def test_the_scorer_without_places_scores_everything_as_if_at_the_top() -> None:
    scorer = SlateScorer(3, 5, 4, torch_rng(0, "init"))
    features, group = draw(2, 4, 3).float(), torch.tensor([[0, 1, 2, 3], [4, 4, 0, 1]])
    assert torch.equal(scorer(features, group), scorer(features, group, torch.ones_like(group)))
    assert not torch.equal(scorer(features, group), scorer(features, group, torch.full_like(group, 3)))
