"""Shapley values against the average over all orders, and metrics between MAP and NDCG by hand."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch

from recsys.evaluate.graded import average_gain, exponential
from recsys.evaluate.metrics import mean_average_precision, ndcg
from recsys.evaluate.shapley import shapley
from recsys.evaluate.slates import judged
from recsys.random import torch_rng


@pytest.mark.parametrize("num", [1, 2, 4])
def test_shapley_values_are_means_over_orders(num: int) -> None:
    values = torch.randn(2**num, generator=torch_rng(num, "values"), dtype=torch.float64)
    wanted = torch.zeros(num, dtype=torch.float64)
    orders = list(permutations(range(num)))
    for order in orders:
        held = 0
        for factor in order:
            wanted[factor] += values[held | 1 << factor] - values[held]
            held |= 1 << factor
    torch.testing.assert_close(shapley(values), wanted / len(orders))
    assert float(shapley(values).sum()) == pytest.approx(float(values[-1] - values[0]))
    assert shapley(values.expand(3, -1)).shape == (3, num)


def test_golden_lists() -> None:
    """By hand: places 1, 0, 1 with three relevant; grades 1, 0, 4, the best order 4, 1, 1."""
    scores, grades = torch.tensor([[4.0, 3.0, 2.0, 1.0]]), torch.tensor([[1, 0, 4, 1]])
    binary, graded = judged(scores, (grades > 0).double()), judged(scores, exponential(grades))
    assert float(mean_average_precision(binary, 3)) == pytest.approx((1 + 2 / 3) / 3)
    assert float(mean_average_precision(binary, 2)) == pytest.approx(1 / 2)
    discount = [1.0, 0.63093, 0.5]
    assert float(ndcg(graded, 3)) == pytest.approx((1 + 15 * 0.5) / (15 + discount[1] + discount[2]), abs=1e-5)
    assert float(average_gain(graded, 3)) == pytest.approx((1 + 15 * 16 / 3) / (15 * 15 + 16 / 2 + 17 / 3))


def test_average_gain_of_binary_lists_is_average_precision() -> None:
    scores = torch.randn(30, 9, generator=torch_rng(0, "scores"))
    held = judged(scores, (torch.rand(30, 9, generator=torch_rng(0, "grades")) < 0.2).double())
    for k in (1, 4, 9):
        torch.testing.assert_close(average_gain(held, k), mean_average_precision(held, k), equal_nan=True)
