"""Heads for rare classes, against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from recsys.heads.classes import AdjustedLinear, CosineLinear
from recsys.losses.rare_classes import CosineSoftmax, LogitAdjusted
from recsys.random import torch_rng
from recsys.recipes.categories import Categorise
from recsys.train.fit import Fit, Lesson
from recsys.worlds.categories import Categories

X = torch.randn(7, 5, generator=torch_rng(0, "x"))


def test_training_adds_the_log_of_frequencies_and_serving_does_not() -> None:
    head = AdjustedLinear(5, 4, tau=0.7)
    head.count(torch.tensor([0, 0, 0, 1, 1, 2]))
    frequency = torch.tensor([3.0, 2.0, 1.0, 0.5]) / 6.5  # the class without rows counts half a one
    plain = X @ head.weight.T + head.bias
    assert torch.allclose(head.train()(X), plain + 0.7 * frequency.log(), atol=1e-6)
    assert torch.allclose(head.eval()(X), plain, atol=1e-6)


def test_what_features_do_not_tell_is_left_to_the_frequencies() -> None:
    """The same features for all rows: a softmax learns the frequencies, an adjusted one that nothing tells classes apart."""
    label = torch.tensor([0] * 80 + [1] * 20)
    columns = (torch.ones(100, 1), label)

    def chances(reading: LogitAdjusted) -> torch.Tensor:
        head = reading.head(1)
        assert isinstance(head, AdjustedLinear)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        head.count(label)
        lesson = Lesson(columns, lambda model, x, wanted: reading(model(x), wanted).mean())
        model = Fit(steps=200, batch=100, learning_rate=0.05)(head, lesson, 0).model
        return reading.chances(model(torch.ones(1, 1)))[0].detach()

    assert torch.allclose(chances(LogitAdjusted(num=2, tau=0.0)), torch.tensor([0.8, 0.2]), atol=0.01)
    assert torch.allclose(chances(LogitAdjusted(num=2, tau=1.0)), torch.tensor([0.5, 0.5]), atol=0.01)


def test_cosines_see_neither_the_length_of_a_row_nor_of_a_class() -> None:
    head = CosineLinear(5, 4, scale=3.0)
    plain = head(X)
    slow = torch.stack([torch.stack([3 * (x @ w) / (x.norm() * w.norm()) for w in head.weight]) for x in X])
    assert torch.allclose(plain, slow, atol=1e-5)
    with torch.no_grad():
        head.weight.mul_(torch.tensor([[1.0], [9.0], [0.1], [2.0]]))
    assert torch.allclose(head(5 * X), plain, atol=1e-5)


@pytest.mark.parametrize("reading", [LogitAdjusted(num=4), CosineSoftmax(num=4)])
def test_losses_are_cross_entropies_and_chances_sum_to_one(reading: LogitAdjusted | CosineSoftmax) -> None:
    logits, label = torch.randn(6, 4, generator=torch_rng(1, "logits")), torch.arange(6) % 4
    expected = torch.stack([cross_entropy(row[None], wanted[None]) for row, wanted in zip(logits, label, strict=True)])
    assert torch.allclose(reading(logits, label), expected)
    assert torch.allclose(reading.chances(logits).sum(1), torch.ones(6))


def test_bad_strengths_are_refused() -> None:
    with pytest.raises(ValueError, match="tau"):
        LogitAdjusted(num=3, tau=-1.0)
    with pytest.raises(ValueError, match="scale"):
        CosineSoftmax(num=3, scale=0.0)


def test_seeds_trained_together_adjust_as_those_trained_alone_do() -> None:
    world = Categories(branching=(3, 4), sizes=(1.0, 0.8), per_class=20, num_new=50, zipf=1.0)
    recipe = Categorise(world=world, reading=LogitAdjusted(num=12), hidden=16, train=Fit(steps=40, batch=64))
    logs = [world.sample(seed).logs for seed in (0, 1)]
    for one, other in zip(recipe.fit_together(logs, (0, 1)), map(recipe.fit, logs, (0, 1)), strict=True):
        weights, others = one.fitted.model.state_dict(), other.fitted.model.state_dict()
        assert all(torch.allclose(weights[name], held, atol=1e-4) for name, held in others.items())
