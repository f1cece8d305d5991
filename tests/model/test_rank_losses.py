"""Losses of graded lists against swapping every pair by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, ndcg_score

from recsys.losses.approx_ndcg import ApproxNDCG
from recsys.losses.lambda_loss import LambdaLoss, map_changes, ndcg_changes
from recsys.random import torch_rng

SHAPES = [(4, 6), (3, 2), (5, 9)]


def draw(shape: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    scores = torch.randn(*shape, generator=torch_rng(seed, "scores"), dtype=torch.float64)
    return scores, 2.0 ** torch.randint(0, 4, shape, generator=torch_rng(seed, "grades")).double() - 1


def swapped(scores: np.ndarray, i: int, j: int) -> np.ndarray:
    held = scores.copy()
    held[i], held[j] = scores[j], scores[i]
    return held


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cutoff", [None, 1, 3])
def test_changes_of_ndcg_are_those_of_swapping(shape: tuple[int, int], cutoff: int | None) -> None:
    scores, gains = draw(shape)
    found = ndcg_changes(scores, gains, cutoff)
    for row in range(shape[0]):
        s, g = scores[row].numpy(), gains[row].numpy()
        if g.sum() == 0:
            assert bool((found[row] == 0).all())
            continue
        before = ndcg_score(g[None], s[None], k=cutoff)
        for i, j in permutations(range(shape[1]), 2):
            wanted = abs(ndcg_score(g[None], swapped(s, i, j)[None], k=cutoff) - before)
            assert float(found[row, i, j]) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_changes_of_map_are_those_of_swapping(shape: tuple[int, int]) -> None:
    scores, gains = draw(shape)
    found = map_changes(scores, gains)
    for row in range(shape[0]):
        s, relevant = scores[row].numpy(), (gains[row] > 0).numpy()
        if not relevant.any():
            assert bool((found[row] == 0).all())
            continue
        before = average_precision_score(relevant, s)
        for i, j in permutations(range(shape[1]), 2):
            wanted = abs(average_precision_score(relevant, swapped(s, i, j)) - before)
            assert float(found[row, i, j]) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("loss", [LambdaLoss(), LambdaLoss(cutoff=3), LambdaLoss(metric="map")])
def test_lambda_loss_is_a_loop_over_ordered_pairs(loss: LambdaLoss) -> None:
    scores, gains = draw((3, 5), seed=2)
    change = map_changes(scores, gains) if loss.metric == "map" else ndcg_changes(scores, gains, loss.cutoff)
    worth = (gains > 0).double() if loss.metric == "map" else gains
    for row in range(3):
        wanted = sum(
            float(change[row, i, j]) * np.log1p(np.exp(-float(scores[row, i] - scores[row, j])))
            for i, j in permutations(range(5), 2)
            if worth[row, i] > worth[row, j]
        )
        assert float(loss(scores, gains)[row]) == pytest.approx(wanted)


def test_a_step_down_the_gradient_raises_the_metric() -> None:
    scores, gains = draw((1, 8), seed=3)
    for loss in (LambdaLoss(cutoff=3), LambdaLoss(), ApproxNDCG()):
        held = scores.clone().requires_grad_()
        for _ in range(300):
            (grad,) = torch.autograd.grad(loss(held, gains).sum(), held)
            held = (held - grad / grad.norm().clamp(min=1e-9) * 0.05).detach().requires_grad_()
        assert ndcg_score(gains.numpy(), held.detach().numpy(), k=3) > 0.99


def test_approx_ndcg_is_exact_where_scores_are_far_apart() -> None:
    scores, gains = draw((6, 7), seed=4)
    far = 50.0 * scores.argsort(1).argsort(1).double()
    loss = ApproxNDCG()(far, gains)
    wanted = [1 - ndcg_score(gains[i : i + 1].numpy(), far[i : i + 1].numpy()) for i in range(6)]
    assert loss.tolist() == pytest.approx(wanted, abs=1e-9)
    assert ApproxNDCG()(far, torch.zeros_like(gains)).tolist() == [0] * 6


def test_a_cutoff_of_map_is_refused() -> None:
    with pytest.raises(ValueError, match="cutoff is of ndcg"):
        LambdaLoss(metric="map", cutoff=3)
