"""Two levels find almost the list that a comparison with all leaves finds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.index.kmeans import kmeans, nearest
from recsys.index.probing import Prober, largest
from recsys.index.spec import Metric
from recsys.index.synthetic import SyntheticVectors, World
from recsys.index.tree import Tree, apportioned


@pytest.fixture(scope="module")
def world() -> World:
    return World(SyntheticVectors(n=40_000, dim=32, seed=1))


@pytest.fixture(scope="module")
def rows(world: World) -> np.ndarray:
    return world.chunk(0).astype(np.float32)


@pytest.fixture(scope="module")
def tree(rows: np.ndarray) -> Tree:
    return Tree.train(rows[:30_000], 512, seed=0)


def error(rows: np.ndarray, leaves: np.ndarray, own: np.ndarray) -> float:
    return float(((rows - leaves[own]) ** 2).sum(1).mean())


def test_the_error_is_at_most_two_percent_above_that_of_all_leaves(tree: Tree, rows: np.ndarray) -> None:
    fresh = rows[30_000:]
    flat, own = nearest(fresh, tree.leaves), tree.assign(fresh)
    assert error(fresh, tree.leaves, own) <= 1.02 * error(fresh, tree.leaves, flat)
    assert (own == flat).mean() > 0.8


def test_lists_are_as_many_as_asked_none_empty_and_even(tree: Tree, rows: np.ndarray) -> None:
    sizes = np.bincount(tree.assign(rows), minlength=512)
    assert len(tree) == 512
    assert sizes.min() > 0
    assert 512 * (sizes.astype(float) ** 2).sum() / sizes.sum() ** 2 < 2  # 1 where all are equal


def test_the_nearest_is_that_of_a_slow_loop() -> None:
    draw = np.random.default_rng(0)
    rows, centres = draw.standard_normal((500, 7), np.float32), draw.standard_normal((33, 7), np.float32)
    slow = ((rows[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
    np.testing.assert_array_equal(nearest(rows, centres), slow)


def test_kmeans_splits_the_largest_when_a_centre_loses_all_rows() -> None:
    rows = np.repeat(np.eye(4, dtype=np.float32), 50, axis=0)
    rows += np.random.default_rng(0).standard_normal(rows.shape).astype(np.float32) * 1e-3
    centres = kmeans(rows, 40, np.random.default_rng(1), rounds=8)
    assert np.isfinite(centres).all()
    assert error(rows, centres, nearest(rows, centres)) < 1e-5


def test_training_and_assignment_are_the_same_to_the_bit_every_time(
    tree: Tree, rows: np.ndarray, tmp_path: Path
) -> None:
    again = Tree.train(rows[:30_000], 512, seed=0)
    np.testing.assert_array_equal(again.leaves, tree.leaves)
    tree.save(tmp_path)
    np.testing.assert_array_equal(Tree.load(tmp_path).assign(rows[:5000]), again.assign(rows[:5000]))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(0, 400))
def test_shares_sum_up_and_none_is_larger_than_its_part(sizes: list[int], total: int) -> None:
    held = np.array(sizes)
    total = min(max(total, int((held > 0).sum())), int(held.sum()))
    shares = apportioned(held, total)
    assert shares.sum() == total
    assert ((shares >= (held > 0)) & (shares <= held)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 700), st.integers(1, 300), st.booleans())
def test_the_largest_are_those_of_a_sort(seed: int, n: int, count: int, ties: bool) -> None:
    draw = np.random.default_rng(seed)
    row = draw.integers(0, 5, n).astype(np.float32) if ties else draw.standard_normal(n).astype(np.float32)
    count = min(count, n)
    places, values = np.empty(count, np.int64), np.empty(count, np.float32)
    largest(row, places, values)
    assert (np.diff(places) > 0).all()
    np.testing.assert_array_equal(values, row[places])
    np.testing.assert_array_equal(np.sort(values), np.sort(row)[n - count :])


@pytest.mark.parametrize("metric", ["inner_product", "l2"])
def test_queries_visit_nearly_the_best_lists_by_way_of_parents(rows: np.ndarray, world: World, metric: Metric) -> None:
    tree = Tree.train(rows, 4096, seed=0)
    queries = world.queries("ood", "test", 200)
    lists, scores = replace(Prober.of(tree, metric), flat=0).probes(queries, 8)
    products = queries @ tree.leaves.T
    exact = products if metric == "inner_product" else 2 * products - (tree.leaves**2).sum(1)
    best = np.argsort(-exact, axis=1)[:, :8]
    share = np.mean([np.isin(one, other).mean() for one, other in zip(best, lists, strict=True)])
    assert share > 0.9
    told = products if metric == "inner_product" else ((queries[:, None] - tree.leaves[None]) ** 2).sum(-1)
    np.testing.assert_allclose(scores, np.take_along_axis(told, lists, 1), atol=1e-4)
