"""Readings of a class or a rank, against slow loops and closed forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recsys.losses.categories import SoftLabelCE, SoftmaxCE, TreeMarginalCE
from recsys.losses.ordinal import Coral, Corn, RankRegression, SquaredEMD
from recsys.recipes.categories import seriation
from recsys.taxonomy import Taxonomy

TREE = Taxonomy.balanced((3, 2))
RANK = torch.tensor([0, 1, 3, 5, 2])


@pytest.mark.parametrize("reading", [Corn(num=6), Coral(num=6), RankRegression(num=6), SquaredEMD(num=6)])
def test_chances_of_ranks_are_chances_and_the_head_fits(reading: Corn | Coral | RankRegression | SquaredEMD) -> None:
    torch.manual_seed(0)
    output = reading.head(4)(torch.randn(5, 4))
    chances = reading.chances(output)
    assert chances.shape == (5, 6)
    assert torch.allclose(chances.sum(1), torch.ones(5), atol=1e-5)
    assert (chances >= 0).all()
    assert reading(output, RANK).shape == (5,)


def test_corn_asks_only_whoever_came_so_far() -> None:
    output = torch.randn(5, 5, dtype=torch.float64)
    found = Corn(num=6)(output, RANK)
    for i, rank in enumerate(RANK.tolist()):
        wanted = 0.0
        for step in range(5):
            if rank >= step:
                further = output[i, step].sigmoid()
                wanted -= float((further if rank > step else 1 - further).log())
        assert float(found[i]) == pytest.approx(wanted)
    # the likelihood of the rank itself: going on at every question before it, stopping there
    assert torch.allclose(Corn(num=6).chances(output).gather(1, RANK[:, None])[:, 0].log(), -found)


def test_coral_has_one_score_and_its_loss_is_of_all_thresholds() -> None:
    torch.manual_seed(0)
    head = Coral(num=6, sharpness=7.0).head(4)
    output = head(torch.randn(5, 4)).double()
    assert torch.allclose(output - output[:, :1], (output - output[:, :1])[:1].expand(5, -1), atol=1e-5)
    further = (RANK[:, None] > torch.arange(5)).float()
    wanted = -(further * output.sigmoid().log() + (1 - further) * (1 - output.sigmoid()).log()).sum(1)
    assert torch.allclose(Coral(num=6)(output, RANK), wanted, atol=1e-3)


def test_emd_is_between_cumulative_chances() -> None:
    output = torch.randn(5, 6, dtype=torch.float64)
    reached = F.one_hot(RANK, 6).double().cumsum(1)
    wanted = ((output.softmax(1).cumsum(1) - reached) ** 2).sum(1) * 0.5 + F.cross_entropy(
        output, RANK, reduction="none"
    )
    assert torch.allclose(SquaredEMD(num=6, strength=0.5)(output, RANK), wanted)
    sure = torch.full((1, 6), -50.0).scatter(1, torch.tensor([[5]]), 50.0)
    assert float(SquaredEMD(num=6, strength=2.0)(sure, torch.tensor([2]))) == pytest.approx(2 * 3 + 100)


def test_regression_reads_the_nearest_rank() -> None:
    output = 2 * RANK[:, None].float() / 5 - 1
    reading = RankRegression(num=6)
    assert torch.equal(reading.chances(output + 0.1).argmax(1), RANK)
    assert float(reading(output, RANK).abs().max()) < 1e-9


def test_soft_labels_fall_with_height_and_get_hard_when_sharp() -> None:
    output = torch.randn(5, 6, dtype=torch.float64)
    label = torch.tensor([0, 5, 2, 2, 3])
    hard = F.cross_entropy(output, label, reduction="none")
    assert torch.allclose(SoftLabelCE(taxonomy=TREE, sharpness=60.0)(output, label), hard)
    shares = torch.tensor([1.0, torch.exp(torch.tensor(-2.0)), *[torch.exp(torch.tensor(-4.0))] * 4]).double()
    wanted = -(shares / shares.sum() * output[0].log_softmax(0)).sum()
    assert torch.allclose(SoftLabelCE(taxonomy=TREE, sharpness=2.0)(output, label)[0], wanted, atol=1e-6)


def test_tree_marginal_weighs_levels() -> None:
    output = torch.randn(5, 6, dtype=torch.float64)
    label = torch.tensor([0, 5, 2, 2, 3])
    leaf = F.cross_entropy(output, label, reduction="none")
    above = -output.softmax(1).view(5, 3, 2).sum(2).gather(1, label[:, None] // 2)[:, 0].log()
    assert torch.allclose(TreeMarginalCE(taxonomy=TREE, coarse=0.5)(output, label), (0.5 * above + leaf) / 1.5)
    assert torch.allclose(TreeMarginalCE(taxonomy=TREE, coarse=0.0)(output, label), leaf)
    assert torch.allclose(SoftmaxCE(num=6)(output, label), leaf)


def test_seriation_finds_a_hidden_line() -> None:
    g = torch.Generator().manual_seed(0)
    order = torch.randperm(20, generator=g)
    label = torch.arange(20).repeat(30)
    x = torch.stack([order[label] * 1.0, torch.randn(600, generator=g)], 1)
    found = seriation(x, label, 20)
    assert torch.equal(found, order) or torch.equal(found, 19 - order)
