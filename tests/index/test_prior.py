"""A prior's weight is given with the query, and at every strength the search finds what exact scores would."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from recsys.index.exact import Hits, exact_search
from recsys.index.tuning import STRENGTHS
from recsys.index.vector_index import IndexSpec, Traits, VectorIndex
from recsys.random import rng
from tests.index.shop import Shop, shop, unit_rows

N, K = 50_000, 100


@lru_cache(maxsize=1)
def built() -> tuple[Shop, VectorIndex]:
    world = shop(N)
    spec = IndexSpec(kind="ivf", lists=256, recall_target=0.96)
    return world, VectorIndex.build(world.items, None, spec, world.users[::2], Traits(prior=world.popularity))


def exact(world: Shop, queries: np.ndarray, weight: float, allowed: np.ndarray | None = None) -> Hits:
    items = np.concatenate([world.items, world.popularity[:, None]], axis=1)
    asked = np.concatenate([queries, np.full((len(queries), 1), weight, np.float32)], axis=1)
    return exact_search(items, np.arange(len(items)), asked, K, allowed)


@pytest.mark.parametrize("strength", [*STRENGTHS, 0.02, 0.08, 1.0])
def test_recall_at_every_strength(strength: float) -> None:
    """Also between the strengths that the probes were chosen at, and beyond them."""
    world, index = built()
    queries = world.users[1::2]
    hits, truth = index.search(queries, K, prior_weight=strength), exact(world, queries, strength)
    assert hits.recall(truth) >= 0.95
    assert all(len(set(row)) == K for row in hits.ids.tolist())
    own = np.einsum("bd,bkd->bk", queries, world.items[hits.ids]) + strength * world.popularity[hits.ids]
    np.testing.assert_allclose(hits.scores, own, atol=1e-5)


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_a_prior_under_a_filter(share: float) -> None:
    world, index = built()
    mask, queries = rng(0, "prior filter").random(N) < share, world.users[1:80:2]
    hits = index.search(queries, K, allowed=mask, prior_weight=0.06)
    assert mask[hits.ids].all()
    assert hits.ids.shape[1] == K
    assert hits.recall(exact(world, queries, 0.06, mask)) >= 0.9


def test_saved_probes_and_tier_search_alike(tmp_path: Path) -> None:
    world, index = built()
    index.save(tmp_path)
    loaded = VectorIndex.load(tmp_path)
    assert loaded._catalogue.stored.tuning == index._catalogue.stored.tuning
    for weight in (0.0, 0.05):
        before, after = (held.search(world.users[:20], K, prior_weight=weight) for held in (index, loaded))
        assert np.array_equal(before.ids, after.ids)
        assert np.array_equal(before.scores, after.scores)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_changed_items_bring_their_prior(kind: str) -> None:
    world = shop(2000)
    spec = IndexSpec(kind=kind, lists=20, probes=20)  # type: ignore[arg-type]
    index = VectorIndex.build(world.items, None, spec, traits=Traits(prior=world.popularity))
    index.add(world.items[7:9], np.array([7, 3000]), Traits(prior=np.array([50.0, 40.0])))
    assert index.search(world.users[:5], 2, prior_weight=0.5).ids.tolist() == [[7, 3000]] * 5
    index.compact()
    assert index.search(world.users[:5], 2, prior_weight=0.5).ids.tolist() == [[7, 3000]] * 5


def test_an_inner_product_takes_a_prior_too() -> None:
    world, draw = shop(5000), rng(0, "lengths")
    items = world.items * np.exp(0.3 * draw.standard_normal((5000, 1))).astype(np.float32)
    spec = IndexSpec(kind="ivf", metric="inner_product", lists=64, recall_target=0.96)
    index = VectorIndex.build(items, None, spec, world.users[::2], Traits(prior=world.popularity))
    for weight in (0.0, 0.05, 0.3):
        hits = index.search(world.users[1::2], K, prior_weight=weight)
        scores = world.users[1::2] @ items.T + weight * world.popularity
        truth = np.argsort(-scores, axis=1)[:, :K]
        assert hits.recall(Hits(truth, np.take_along_axis(scores, truth, 1))) >= 0.95


def test_wrong_priors_are_named() -> None:
    rows = unit_rows(np.random.default_rng(0).standard_normal((30, 4)))
    with pytest.raises(ValueError, match="holds no prior"):
        VectorIndex.build(rows, None, IndexSpec()).search(rows, 3, prior_weight=0.1)
    index = VectorIndex.build(rows, None, IndexSpec(), traits=Traits(prior=np.zeros(30)))
    for weight in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="prior_weight must be 0 or more"):
            index.search(rows, 3, prior_weight=weight)
    with pytest.raises(ValueError, match="prior must be"):
        VectorIndex.build(rows, None, IndexSpec(), traits=Traits(prior=np.zeros(29)))
    with pytest.raises(ValueError, match=r"row \[4\] isn't finite"):
        VectorIndex.build(rows, None, IndexSpec(), traits=Traits(prior=np.where(np.arange(30) == 4, np.nan, 0)))
    with pytest.raises(ValueError, match="a prior is added to an inner product"):
        VectorIndex.build(rows, None, IndexSpec(metric="l2"), traits=Traits(prior=np.zeros(30)))
