"""Metrics of dense lists against loops."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import ndcg_score

from recsys.evaluate.metrics import ndcg
from recsys.evaluate.slates import judged, mean_known, served, snips_discount
from recsys.random import torch_rng


@pytest.mark.parametrize(("rows", "width", "k"), [(5, 4, 3), (7, 9, 9), (1, 2, 1)])
def test_ndcg_of_dense_lists_is_that_of_sklearn(rows: int, width: int, k: int) -> None:
    scores = torch.randn(rows, width, generator=torch_rng(0, "scores"))
    grades = torch.randint(0, 4, (rows, width), generator=torch_rng(0, "grades")).float()
    found = ndcg(judged(scores, grades), k)
    for row in range(rows):
        if float(grades[row].sum()) == 0:
            assert bool(found[row].isnan())
        else:
            wanted = ndcg_score(grades[row : row + 1].numpy(), scores[row : row + 1].numpy(), k=k)
            assert float(found[row]) == pytest.approx(wanted)


def test_served_and_snips_are_loops() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]])
    action, look = torch.tensor([[0.2, 0.4, 0.6], [0.1, 0.2, 0.3]]), torch.tensor([1.0, 0.5, 0.25])
    wanted = (0.4 + 0.6 * 0.5 + 0.2 * 0.25 + 0.1 + 0.3 * 0.5 + 0.2 * 0.25) / 2
    assert served(scores, action, look) == pytest.approx(wanted)
    click, propensity = torch.tensor([[1.0, 0, 1], [0, 1, 0]]), torch.tensor([[0.5, 1, 0.25], [1, 0.1, 1]])
    weights = {(0, 3): 2.0, (0, 2): 4.0, (1, 3): 10.0}
    wanted = sum(w / math.log2(1 + rank) for (_, rank), w in weights.items()) / 16
    assert snips_discount(scores, click, propensity) == pytest.approx(wanted)


def test_snips_estimates_the_discount_of_what_is_relevant_whatever_the_old_order() -> None:
    generator = torch_rng(0, "lists")
    wish, scores = torch.rand(40_000, 5, generator=generator), torch.randn(40_000, 5, generator=generator)
    position = 1 + (wish + 0.3 * torch.randn(wish.shape, generator=generator)).argsort(1, descending=True).argsort(1)
    click = (torch.rand(wish.shape, generator=generator) < wish / position).float()
    rank = 1 + scores.argsort(1, descending=True).argsort(1)
    wanted = float((wish / (1 + rank).log2()).sum() / wish.sum())
    assert snips_discount(scores, click, 1 / position) == pytest.approx(wanted, abs=0.005)


def test_mean_known_leaves_lists_without_a_value_out() -> None:
    assert mean_known(torch.tensor([1.0, torch.nan, 3.0])) == 2
