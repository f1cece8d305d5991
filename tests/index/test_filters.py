"""A filtered search returns min(k, allowed) items, all of them allowed, and loses no more than an unfiltered one does."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.index.exact import exact_search
from recsys.index.masks import among, between, of_ids
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import rng
from tests.index.shop import Shop, shop

N, K = 100_000, 100
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)


@lru_cache(maxsize=1)
def built() -> tuple[Shop, VectorIndex]:
    world = shop(N)
    return world, VectorIndex.build(world.items, None, IndexSpec(kind="ivf", lists=512, probes=48))


def recall(queries: np.ndarray, mask: np.ndarray | None) -> float:
    world, index = built()
    truth = exact_search(world.items, np.arange(N), queries, K, mask)
    hits = index.search(queries, K, allowed=mask)
    if mask is not None:
        assert hits.ids.shape == (len(queries), min(K, mask.sum()))
        assert mask[hits.ids].all()
        assert all(len(set(row)) == len(row) for row in hits.ids.tolist())
    return hits.recall(truth)


@pytest.mark.parametrize("share", SHARES)
def test_random_filters_keep_the_recall(share: float) -> None:
    queries = built()[0].users[:60]
    mask = rng(0, "filter", str(share)).random(N) < share
    assert recall(queries, mask) >= 0.9 * recall(queries, None)


@pytest.mark.parametrize("share", SHARES)
def test_filters_far_from_the_queries_keep_the_recall(share: float) -> None:
    """What is allowed lies in few lists, which are the last that these queries would visit."""
    world, queries = built()[0], built()[0].users[:60]
    nearness = world.items @ queries.mean(0)
    assert recall(queries, nearness <= np.quantile(nearness, share)) >= 0.9 * recall(queries, None)


def test_a_tenth_is_scanned_since_settling_costs_more() -> None:
    world, _ = built()
    assert recall(world.users[:50], rng(0, "a tenth").random(N) < 0.1) == 1.0


def test_a_mask_for_each_query_and_an_answer_that_depends_on_no_other_query() -> None:
    world, index = built()
    masks = rng(0, "masks").random((5, N)) < np.array(SHARES)[:, None]
    together = index.search(world.users[:5], K, allowed=masks)
    for row in range(5):
        alone = index.search(world.users[row : row + 1], K, allowed=masks[row])
        found = together.ids[row][together.ids[row] >= 0]
        assert np.array_equal(found, alone.ids[0])
        assert len(found) == min(K, masks[row].sum())


@lru_cache(maxsize=4)
def small(kind: str) -> tuple[Shop, VectorIndex]:
    world = shop(2000)
    return world, VectorIndex.build(world.items, None, IndexSpec(kind=kind, lists=40, probes=2))  # type: ignore[arg-type]


@given(
    kind=st.sampled_from(["flat", "ivf"]),
    count=st.integers(0, 2000),
    k=st.integers(1, 300),
    clustered=st.booleans(),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=60, deadline=None)
def test_exactly_as_many_as_are_allowed(kind: str, count: int, k: int, clustered: bool, seed: int) -> None:
    world, index = small(kind)
    draw = rng(seed, "allowed")
    order = np.argsort(world.items @ world.users[seed % 100]) if clustered else draw.permutation(2000)
    mask = of_ids(order[:count], 2000)
    hits = index.search(world.users[:7], k, allowed=mask)
    assert hits.ids.shape == (7, min(k, count))
    assert mask[hits.ids].all()
    assert all(len(set(row)) == len(row) for row in hits.ids.tolist())
    assert (np.diff(hits.scores, axis=1) <= 0).all()


def test_masks_of_categories_and_ranges() -> None:
    category, price = np.array([3, 1, 2, 3, -1]), np.array([5.0, np.nan, 7.0, 9.0, 6.0])
    assert among(category, [3, 2]).tolist() == [True, False, True, True, False]
    assert between(price, 6, 9).tolist() == [False, False, True, True, True]
    assert between(price, high=6).tolist() == [True, False, False, False, True]
    assert of_ids(np.array([4, 0]), 5).tolist() == [True, False, False, False, True]
    with pytest.raises(ValueError, match="upwards"):
        between(price, 2, 1)
    with pytest.raises(ValueError, match="must be integers"):
        among(price, [3])
    with pytest.raises(ValueError, match=r"\[5\] lies outside 0..4"):
        of_ids(np.array([5]), 5)
