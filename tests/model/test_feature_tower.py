"""The small tower over dense features, and recall among its vectors."""

from __future__ import annotations

import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from recsys.encoders.feature_tower import FeatureTower, silent_share
from recsys.evaluate.nearest import by_size, nearest, recall_at_1


def test_shapes_ranks_and_lengths() -> None:
    x = torch.randn(50, 9)
    plain = FeatureTower(hidden=20, dim=6).build(9, 0)(x)
    assert plain.shape == (50, 6)
    narrow = FeatureTower(hidden=20, dim=6, rank=2).build(9, 0)(x)
    assert int(torch.linalg.matrix_rank(narrow - narrow.mean(0), atol=1e-4)) == 2
    unit = FeatureTower(normalise=True).build(9, 0)(x)
    assert torch.allclose(unit.norm(dim=1), torch.ones(50), atol=1e-5)


def test_weights_follow_seed_and_name() -> None:
    first, again, other, named = (
        FeatureTower().build(9, seed, name)[0].weight for seed, name in ((1, "a"), (1, "a"), (2, "a"), (1, "b"))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, named)
    assert float(first.detach().var()) == pytest.approx(1 / 9, rel=0.15)


def test_silent_units_are_those_that_never_fire() -> None:
    tower = FeatureTower(hidden=8).build(3, 0)
    with torch.no_grad():
        tower[0].bias[:2] = -1e6  # type: ignore[index]
    assert silent_share(tower, torch.randn(100, 3)) == pytest.approx(0.25)


def test_nearest_and_recall_are_sklearns() -> None:
    vectors, labels = torch.randn(70, 5), torch.randint(4, (70,))
    found = NearestNeighbors(n_neighbors=2).fit(vectors.numpy()).kneighbors(return_distance=False, n_neighbors=1)
    assert nearest(vectors).tolist() == found[:, 0].tolist()
    assert recall_at_1(vectors, labels) == pytest.approx(float((labels[found[:, 0]] == labels).double().mean()))


def test_recall_of_a_space_that_is_nearly_a_point_is_still_exact() -> None:
    vectors, labels = torch.randn(70, 5, dtype=torch.float64), torch.randint(4, (70,))
    assert recall_at_1(1 + 1e-6 * vectors, labels) == recall_at_1(vectors, labels)


def test_slices_are_the_classes_with_fewest_and_most_items() -> None:
    labels = torch.tensor([0] * 2 + [1] * 3 + [2] * 4)
    found = torch.tensor([True, False, True, True, True, True, False, False, False])
    scores = by_size(found, labels)
    assert scores == {"recall@1": pytest.approx(5 / 9), "recall@1[small]": 0.5, "recall@1[large]": 0.25}
