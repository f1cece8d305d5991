"""Batches of labelled items and the negatives in them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from recsys.random import torch_rng
from recsys.samplers.distance_weighted import DistanceWeighted
from recsys.samplers.pk import PKSampler


def test_pk_batches_hold_k_items_of_p_classes() -> None:
    labels = torch.arange(40).repeat_interleave(7)[torch.randperm(280)]
    rows = PKSampler(classes=9, items=5)(labels, 0, 1)
    counts = torch.bincount(labels[rows], minlength=40)
    assert len(rows.unique()) == 45
    assert sorted(counts[counts > 0].tolist()) == [5] * 9


def test_small_classes_give_what_they_have_and_single_items_are_never_drawn() -> None:
    labels = torch.tensor([7, 7, 7, 3, 3, 9, 5, 5, 5, 5])
    for step in range(20):
        rows = PKSampler(classes=8, items=3)(labels, step, 0)
        assert torch.bincount(labels[rows], minlength=10).tolist() == [0, 0, 0, 2, 0, 3, 0, 3, 0, 0]


def test_classes_and_items_are_drawn_evenly_and_steps_differ() -> None:
    labels = torch.arange(10).repeat_interleave(6)
    drawn = torch.cat([PKSampler(classes=4, items=3)(labels, step, 3) for step in range(600)])
    counts = torch.bincount(drawn, minlength=60)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert torch.equal(PKSampler()(labels, 5, 3), PKSampler()(labels, 5, 3))
    assert not torch.equal(PKSampler(classes=4)(labels, 5, 3), PKSampler(classes=4)(labels, 6, 3))


def test_too_few_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="PK batches need two"):
        PKSampler()(torch.tensor([1, 1, 2, 3]), 0, 0)


def test_distance_weights_are_one_over_the_density_of_distances_on_the_sphere() -> None:
    dim = 6
    points = F.normalize(torch.randn(4000, dim, generator=torch_rng(0, "p"), dtype=torch.float64), dim=1)
    distance = (points[0] - points[1:]).norm(dim=1)
    edges = torch.linspace(0.6, 1.35, 6, dtype=torch.float64)
    density = torch.histogram(distance, edges).hist
    middles = (edges[1:] + edges[:-1]) / 2
    product = density.log() + DistanceWeighted().log_weight(middles, dim)
    assert float((product - product.mean()).abs().max()) < 0.25


def test_distance_weighted_draws_follow_the_weights() -> None:
    vectors = F.normalize(torch.randn(6, 4, generator=torch_rng(1, "v")), dim=1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    rule, generator = DistanceWeighted(farthest=1.99), torch_rng(2, "draws")
    drawn = torch.stack([rule(vectors, labels, generator) for _ in range(4000)])
    others = [2, 3, 4, 5]
    distance = (vectors[0] - vectors[others]).norm(dim=1)
    share = rule.log_weight(distance, 4).softmax(0)
    counts = torch.bincount(drawn[:, 0], minlength=6)[others]
    assert torch.allclose(counts / 4000, share, atol=0.03)
    assert (labels[drawn] != labels).all()


def test_where_all_are_of_one_kind_there_is_no_negative() -> None:
    vectors = F.normalize(torch.randn(3, 4), dim=1)
    assert DistanceWeighted()(vectors, torch.zeros(3, dtype=torch.long), torch_rng(0, "x")).tolist() == [-1, -1, -1]
