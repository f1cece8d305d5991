"""Products in categories do what their world says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from recsys.worlds.categories import Categories

SMALL = Categories(branching=(4, 3, 2), sizes=(1.0, 0.8, 0.6), dim=8, per_class=200, num_new=3000)


def test_products_scatter_around_their_centres() -> None:
    logs, truth = replace(SMALL, noise=0.7).sample(3)
    centres = SMALL.centres(3)
    gap = logs.x - centres[truth.leaf]
    assert gap.std() == pytest.approx(0.7, rel=0.02)
    assert gap.mean() == pytest.approx(0.0, abs=0.02)
    assert torch.equal(logs.label, truth.leaf)


def test_the_posterior_is_bayes_rule_and_is_calibrated() -> None:
    world = replace(SMALL, zipf=1.0)
    logs, truth = world.sample(3)
    slow = (logs.new_x[5].double() - world.centres(3).double()).square().sum(1) / 2
    wanted = (world.prior(3).double() * (-slow).exp()) / (world.prior(3).double() * (-slow).exp()).sum()
    assert torch.allclose(truth.new_posterior[5].double(), wanted, atol=1e-5)
    best, said = truth.new_posterior.max(1)
    assert (said == truth.new_leaf).float().mean() == pytest.approx(float(best.mean()), abs=0.03)


def test_tree_steps_are_shared_and_the_curve_is_in_order() -> None:
    tree = SMALL.centres(3)
    gaps = torch.cdist(tree, tree).square()
    heights = SMALL.taxonomy.heights
    means = [float(gaps[heights == h].mean()) for h in (1, 2, 3)]
    assert means == pytest.approx([2 * 8 * 0.36, 2 * 8 * (0.36 + 0.64), 2 * 8 * 2.0], rel=0.5)
    curve = replace(SMALL, scale=1.0).centres(3)
    near = torch.cdist(curve, curve).fill_diagonal_(torch.inf).argmin(1)
    assert ((near - torch.arange(24)).abs() == 1).all()


def test_switches_do_what_they_say_and_nothing_else() -> None:
    plain, flipped = SMALL.sample(3), replace(SMALL, flipped=0.2).sample(3)
    assert torch.equal(plain.logs.x, flipped.logs.x)
    wrong = (flipped.logs.label != flipped.truth.leaf).float().mean()
    assert wrong == pytest.approx(0.2 * 23 / 24, abs=0.02)
    rare = replace(SMALL, zipf=1.2).sample(3).logs.label.bincount(minlength=24)
    assert rare.max() > 10 * rare.clamp(min=1).min()
    hidden = replace(SMALL, hidden=1.0).centres(3).view(12, 2, 8)
    assert torch.allclose(hidden[:, 0], hidden[:, 1])


def test_same_seed_same_bits() -> None:
    assert torch.equal(SMALL.sample(4).logs.x, SMALL.sample(4).logs.x)
    assert not torch.equal(SMALL.sample(4).logs.x, SMALL.sample(5).logs.x)


@pytest.mark.parametrize("wrong", [{"sizes": (1.0,)}, {"scale": 1.2}, {"noise": 0.0}])
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Categories(**wrong)  # type: ignore[arg-type]
