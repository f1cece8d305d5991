"""Losses for rows that a selection let through, against loops and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from recsys.losses.positive_unlabelled import NonNegativePU, SelectedPU
from recsys.losses.robust import CoTeaching, GeneralisedCrossEntropy, SmoothedCrossEntropy
from recsys.losses.weighted import InversePropensity
from recsys.random import torch_rng


def test_inverse_propensity_is_unbiased_over_draws() -> None:
    g = torch_rng(3, "ipw")
    losses, propensity = torch.rand(7, generator=g).double(), 0.1 + 0.8 * torch.rand(7, generator=g).double()
    loss, total = InversePropensity(clip=100.0, self_normalised=False), 0.0
    for bits in range(2**7):  # every selection with its chance
        seen = torch.tensor([bool(bits >> i & 1) for i in range(7)])
        chance = torch.where(seen, propensity, 1 - propensity).prod()
        total += float(chance * loss(losses, seen, propensity).mean())
    assert total == pytest.approx(float(losses.mean()))


@pytest.mark.parametrize("size", [1, 5, 33])
def test_inverse_propensity_self_normalised_is_a_weighted_mean(size: int) -> None:
    g = torch_rng(size, "ipw")
    losses, propensity = torch.rand(size, generator=g), torch.rand(size, generator=g)
    seen = torch.rand(size, generator=g) < 0.7
    seen[0] = True
    weights = [min(1 / float(p), 5.0) if s else 0.0 for p, s in zip(propensity, seen, strict=True)]
    expected = sum(w * float(held) for w, held in zip(weights, losses, strict=True)) / sum(weights)
    assert float(InversePropensity(clip=5.0)(losses, seen, propensity).mean()) == pytest.approx(expected, rel=1e-4)


def test_nobody_seen_costs_nothing() -> None:
    assert float(InversePropensity()(torch.ones(4), torch.zeros(4, dtype=torch.bool), torch.ones(4)).sum()) == 0


def slow_pu(logits: list[float], positive: list[bool], prior: float) -> tuple[float, float]:
    up = [math.log1p(math.exp(-z)) for z in logits]
    down = [math.log1p(math.exp(z)) for z in logits]
    num = max(1, sum(positive))
    gain = prior * sum(a for a, p in zip(up, positive, strict=True) if p) / num
    rest = sum(down) / len(down) - prior * sum(a for a, p in zip(down, positive, strict=True) if p) / num
    return gain, rest


def test_non_negative_pu_is_the_paper_s_risk_and_ascends_where_it_is_negative() -> None:
    logits = torch.randn(11, generator=torch_rng(0, "pu"))
    positive = torch.arange(11) < 4
    gain, rest = slow_pu(logits.tolist(), positive.tolist(), 0.3)
    assert rest > 0
    assert float(NonNegativePU(prior=0.3)(logits, positive)) == pytest.approx(gain + rest, rel=1e-5)
    overfit = torch.where(positive, 5.0, -5.0).requires_grad_()
    _, rest = slow_pu(overfit.tolist(), positive.tolist(), 0.6)
    assert rest < 0
    held = NonNegativePU(prior=0.6)(overfit, positive)
    assert float(held.detach()) == pytest.approx(-rest, rel=1e-5)
    held.backward()
    assert overfit.grad is not None
    assert bool((overfit.grad[~positive] < 0).all())  # descent raises the unlabelled rows' logits again


def test_selected_pu_is_unbiased_with_the_true_propensity() -> None:
    logits, labels = torch.tensor([0.3, -1.2, 2.0]).double(), torch.tensor([1.0, 0.0, 1.0]).double()
    propensity = torch.tensor([0.2, 0.5, 0.9]).double()
    total = torch.zeros(3).double()
    for bits in range(8):
        looked = torch.tensor([bool(bits >> i & 1) for i in range(3)])
        chance = torch.where(looked, propensity, 1 - propensity).prod()
        total += chance * SelectedPU()(logits, looked & (labels == 1), propensity)
    expected = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    assert torch.allclose(total, expected)


def test_generalised_cross_entropy_has_cross_entropy_and_absolute_error_as_limits() -> None:
    logits, labels = torch.linspace(-3, 3, 7), torch.tensor([0, 1, 0, 1, 1, 0, 1.0])
    near = GeneralisedCrossEntropy(q=1e-3)(logits, labels)
    assert torch.allclose(near, F.binary_cross_entropy_with_logits(logits, labels, reduction="none"), atol=1e-2)
    assert torch.allclose(GeneralisedCrossEntropy(q=1.0)(logits, labels), (labels - logits.sigmoid()).abs(), atol=1e-6)


def test_smoothing_has_its_least_loss_at_the_smoothed_label() -> None:
    loss = SmoothedCrossEntropy(smoothing=0.2)
    best = torch.tensor([math.log(0.9 / 0.1)], requires_grad=True)
    loss(best, torch.ones(1)).sum().backward()
    assert best.grad is not None
    assert float(best.grad.abs()) < 1e-6


@pytest.mark.parametrize(("rows", "forget"), [(10, 0.3), (1, 0.5), (7, 0.0)])
def test_co_teaching_crosses_the_easy_rows(rows: int, forget: float) -> None:
    losses = torch.rand(rows, 2, generator=torch_rng(rows, "co"))
    keep = max(1, round(rows * (1 - forget)))
    easy = [sorted(range(rows), key=lambda i: float(losses[i, k]))[:keep] for k in (0, 1)]
    expected = sum(float(losses[easy[1 - k], k].mean()) for k in (0, 1))
    assert float(CoTeaching(forget=forget)(losses)) == pytest.approx(expected, rel=1e-5)
