"""Losses of labelled batches against slow loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.losses.class_infonce import ClassInfoNCE
from recsys.losses.multi_similarity import MultiSimilarity
from recsys.losses.triplet import Curriculum, EasyNegatives, Triplet, mean_of_active
from recsys.losses.uniformity import Uniformity


def batch(size: int = 17, kinds: int = 5, seed: int = 0, unit: bool = True) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(size, 7, generator=generator, dtype=torch.float64)
    labels = torch.randint(kinds, (size,), generator=generator)
    labels[-1] = kinds  # an item without a positive
    return (F.normalize(vectors, dim=1) if unit else vectors).requires_grad_(), labels


def test_hard_triplets_are_the_farthest_positive_and_the_nearest_negative() -> None:
    vectors, labels = batch(unit=False)
    square = torch.cdist(vectors, vectors).square().detach()
    wanted = []
    for a in range(len(labels)):
        near = [float(square[a, j]) for j in range(len(labels)) if labels[j] == labels[a] and j != a]
        far = [float(square[a, j]) for j in range(len(labels)) if labels[j] != labels[a]]
        wanted.append(max(0.0, max(near) - min(far) + 1) if near else 0.0)
    found = Triplet(negative="hard", positive="hard", margin=1.0)(vectors, labels, 0)
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64))


@pytest.mark.parametrize("negative", ["hard", "semihard", "random", "distance"])
def test_at_one_point_every_triplet_loses_its_margin(negative: str) -> None:
    labels = torch.arange(4).repeat_interleave(3)
    vectors = torch.full((12, 8), 8**-0.5)
    losses = Triplet(negative=negative, positive="random", margin=0.3)(vectors, labels, 0)  # type: ignore[arg-type]
    assert torch.allclose(losses, torch.tensor(0.3))
    soft = Triplet(negative="hard", positive="hard", margin=None)(vectors, labels, 0)
    assert torch.allclose(soft, torch.tensor(math.log(2)))


def test_easy_negatives_of_a_solved_space_lose_nothing_and_draws_follow_the_step() -> None:
    labels = torch.arange(4).repeat_interleave(3)
    solved = torch.eye(4).repeat_interleave(3, 0)
    assert (EasyNegatives(margin=0.2)(solved, labels, 0) == 0).all()
    vectors, labels = batch(40)
    assert torch.equal(EasyNegatives()(vectors, labels, 3), EasyNegatives()(vectors, labels, 3))
    assert not torch.equal(EasyNegatives()(vectors, labels, 3), EasyNegatives()(vectors, labels, 4))


def test_a_curriculum_switches_at_its_step() -> None:
    vectors, labels = batch(40)
    both = Curriculum(switch=5)
    assert torch.equal(both(vectors, labels, 4), both.first(vectors, labels, 4))
    assert torch.equal(both(vectors, labels, 5), both.then(vectors, labels, 5))


def test_the_mean_of_active_losses_leaves_zeros_out() -> None:
    assert float(mean_of_active(torch.tensor([0.0, 2.0, 0.0, 4.0]))) == 3
    assert float(mean_of_active(torch.zeros(3))) == 0


def test_multi_similarity_is_its_formula() -> None:
    vectors, labels = batch()
    found = MultiSimilarity()(vectors, labels)
    values = found.tolist()
    s = (vectors @ vectors.T).tolist()
    for a in range(len(labels)):
        same = [s[a][j] for j in range(len(labels)) if labels[j] == labels[a] and j != a]
        other = [s[a][j] for j in range(len(labels)) if labels[j] != labels[a]]
        far = [x for x in same if x - 0.1 < max(other)]
        near = [x for x in other if x + 0.1 > min(same, default=math.inf)]
        wanted = math.log(1 + sum(math.exp(-2 * (x - 0.5)) for x in far)) / 2
        wanted += math.log(1 + sum(math.exp(40 * (x - 0.5)) for x in near)) / 40
        assert values[a] == pytest.approx(wanted, rel=1e-9)
    found.sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_class_infonce_is_cross_entropy_of_one_positive_against_other_classes() -> None:
    vectors, labels = batch()
    found = ClassInfoNCE(temperature=0.3)(vectors, labels, 2)
    assert float(found[-1]) == 0  # no positive
    scores = vectors @ vectors.T / 0.3
    for a in range(len(labels) - 1):
        negatives = scores[a][labels != labels[a]]
        possible = [
            float(torch.cat([scores[a, j][None], negatives]).logsumexp(0) - scores[a, j])
            for j in range(len(labels))
            if labels[j] == labels[a] and j != a
        ]
        assert min((abs(float(found[a]) - each) for each in possible), default=float(found[a])) < 1e-6
    found.sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_uniformity_is_its_mean_over_pairs() -> None:
    vectors, _ = batch()
    square = torch.pdist(vectors.detach()).square()
    assert float(Uniformity()(vectors.detach())) == pytest.approx(float((-2 * square).exp().mean().log()))
    assert float(Uniformity()(torch.ones(5, 4) / 2)) == pytest.approx(0, abs=1e-6)
