"""Interests of a query, and groups of near-identical listings."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn.functional import normalize

from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import torch_rng
from recsys.rerank.canonical import Canonicaliser, representatives
from recsys.rerank.interests import Interests


def test_separate_meanings_are_found_with_their_shares() -> None:
    centres = torch.eye(6)[:3]
    label = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    clicks = normalize(centres[label] + 0.05 * torch.randn(4, 8, 6, generator=torch_rng(0, "clicks")), dim=2)
    found, shares = Interests(num=3)(clicks)
    order = (found @ centres.T).argmax(2)
    assert order.sort(1).values.tolist() == [[0, 1, 2]] * 4
    assert torch.allclose(shares.gather(1, order.argsort(1)), torch.tensor([0.5, 0.375, 0.125]).expand(4, -1))


@pytest.mark.parametrize("seed", range(3))
def test_as_tight_as_sklearn_within_a_tenth(seed: int) -> None:
    clicks = normalize(torch.randn(1, 60, 5, generator=torch_rng(seed, "clicks")), dim=2)
    found, _ = Interests(num=4, rounds=30)(clicks)
    ours = (clicks @ found.transpose(1, 2)).amax(2).mean()
    means = KMeans(4, n_init=10, random_state=0).fit(clicks[0].numpy()).cluster_centers_
    theirs = (clicks[0] @ normalize(torch.as_tensor(means), dim=1).T).amax(1).mean()
    assert ours > 0.9 * theirs


def test_one_interest_is_the_mean_and_identical_clicks_make_no_nan() -> None:
    clicks = normalize(torch.randn(3, 7, 4, generator=torch_rng(1, "clicks")), dim=2)
    found, shares = Interests(num=1)(clicks)
    assert torch.allclose(found[:, 0], normalize(clicks.mean(1), dim=1), atol=1e-6)
    assert shares.tolist() == [[1.0]] * 3
    same, shares = Interests(num=3)(clicks[:, :1].expand(-1, 5, -1))
    assert bool(same.isfinite().all())
    assert shares.sum(1).allclose(torch.ones(3))
    with pytest.raises(ValueError, match="2 clicks a query don't make 3 interests"):
        Interests(num=3)(clicks[:, :2])


def test_representatives_are_components() -> None:
    random = np.random.default_rng(0)
    left, right = random.integers(30, size=25), random.integers(30, size=25)
    graph = networkx.Graph()
    graph.add_nodes_from(range(30))
    graph.add_edges_from(zip(left.tolist(), right.tolist(), strict=True))
    wanted = {n: min(group) for group in networkx.connected_components(graph) for n in group}
    assert representatives(left, right, 30).tolist() == [wanted[n] for n in range(30)]


def test_copies_are_joined_through_an_approximate_index_and_chains_are_cut() -> None:
    base = normalize(torch.randn(40, 16, generator=torch_rng(0, "base")), dim=1)
    product = torch.arange(40).repeat_interleave(5)
    noise = 0.02 * torch.randn(200, 16, generator=torch_rng(0, "noise"))
    vectors = normalize(base[product] + noise, dim=1)
    index = VectorIndex.build(vectors.numpy(), None, IndexSpec(kind="ivf", lists=8))
    groups = Canonicaliser(neighbours=8)(vectors, index)
    assert groups.tolist() == (product * 5).tolist()
    angles = torch.arange(12) * 0.2  # each neighbour at cosine .98, the ends nearly opposite
    chain = torch.stack([angles.cos(), angles.sin()], 1)
    flat = VectorIndex.build(chain.numpy(), None, IndexSpec(kind="flat"))
    joined = Canonicaliser(reach=-1)(chain, flat)
    assert joined.unique().tolist() == [0]
    cut = Canonicaliser(reach=0.9)(chain, flat)
    assert bool(((chain * chain[cut]).sum(1) >= 0.9).all())
    assert cut[:3].tolist() == [0, 0, 0]
