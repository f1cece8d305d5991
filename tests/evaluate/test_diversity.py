"""Novelty and breadth of lists, against loops and by hand."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch.nn.functional import normalize

from recsys.evaluate.diversity import (
    alpha_dcg,
    best_alpha_dcg,
    covered,
    intra_list_distance,
    repeats,
    unique_share,
)  # fmt: skip
from recsys.random import torch_rng


def slow_alpha_dcg(gains: list[float], aspects: list[int], products: list[int], alpha: float) -> float:
    seen, count, total = set(), {}, 0.0
    for place, (gain, aspect, product) in enumerate(zip(gains, aspects, products, strict=True)):
        if product < 0 or product in seen:
            continue
        total += gain * (1 - alpha) ** count.get(aspect, 0) / math.log2(place + 2)
        seen.add(product)
        count[aspect] = count.get(aspect, 0) + 1
    return total


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_alpha_dcg_is_its_loop(alpha: float) -> None:
    generator = torch_rng(0, "lists")
    products = torch.randint(-1, 6, (50, 7), generator=generator)
    aspects = torch.where(products < 0, -1, products % 3)
    gains = torch.rand(50, 7, generator=generator)
    slow = [slow_alpha_dcg(*(held[row].tolist() for held in (gains, aspects, products)), alpha) for row in range(50)]
    assert alpha_dcg(gains, aspects, products, alpha).tolist() == pytest.approx(slow)


def test_the_best_list_is_the_best_of_all_lists() -> None:
    gains = torch.rand(4, 6, generator=torch_rng(1, "gains"))
    aspects = torch.tensor([0, 0, 1, 1, 1, 2])
    lists = torch.tensor(list(permutations(range(6), 3)))
    for row in range(4):
        worth = alpha_dcg(gains[row][lists], aspects[lists], lists)
        assert float(best_alpha_dcg(gains, aspects, 3)[row]) == pytest.approx(float(worth.max()))


def test_by_hand() -> None:
    products = torch.tensor([[3, 3, 5, -1], [-1, -1, -1, -1]])
    assert repeats(products).tolist() == [[False, True, False, False], [False] * 4]
    assert unique_share(products).tolist() == [0.5, 0.0]
    aspects = torch.tensor([[0, 0, 2, -1], [-1, -1, -1, -1]])
    weight = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    assert covered(aspects, weight).tolist() == [0.75, 0.0]


def test_intra_list_distance_is_a_mean_over_pairs() -> None:
    vectors = normalize(torch.randn(3, 5, 4, generator=torch_rng(2, "vectors")), dim=2)
    slow = [
        sum(1 - float(rows[i] @ rows[j]) for i in range(5) for j in range(5) if i != j) / 20
        for rows in vectors.double()
    ]
    assert intra_list_distance(vectors).tolist() == pytest.approx(slow, abs=1e-6)
