"""Exact answers found in passing are those of a sort of everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.index.exact import Hits
from recsys.index.running_top import RunningTop, similarity
from recsys.index.spec import Metric


def sorted_all(queries: np.ndarray, vectors: np.ndarray, k: int, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    if metric == "l2":
        scores = -((queries[:, None].astype(np.float64) - vectors[None]) ** 2).sum(-1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(scores, order, 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 900),
    k=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 900), max_size=4),
    metric=st.sampled_from(["cosine", "inner_product", "l2"]),
)
def test_whatever_the_pieces_the_best_are_those_of_a_sort(
    seed: int, n: int, k: int, cuts: list[int], metric: Metric
) -> None:
    draw = np.random.default_rng(seed)
    # small integers: sums are exact in float32, and many scores are equal
    vectors, queries = (draw.integers(-2, 3, (rows, 8)).astype(np.float32) for rows in (n, 3))
    top = RunningTop(queries, k, metric)
    edges = sorted({0, n, *(min(cut, n) for cut in cuts)})
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        top.add(vectors[start:stop], start)
    hits = top.hits()
    places, scores = sorted_all(queries, vectors, k, metric)
    found = min(k, n)
    np.testing.assert_array_equal(hits.ids[:, :found], places)
    np.testing.assert_array_equal(hits.scores[:, :found], scores)
    assert (hits.ids[:, found:] == -1).all()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_shards_merge_to_what_one_pass_finds(metric: Metric) -> None:
    draw = np.random.default_rng(3)
    vectors, queries = draw.standard_normal((5000, 16), np.float32), draw.standard_normal((7, 16), np.float32)
    whole = RunningTop(queries, 100, metric)
    whole.add(vectors, 0)
    parts: list[Hits] = []
    for start in range(0, 5000, 1500):
        part = RunningTop(queries, 100, metric)
        part.add(vectors[start : start + 1500], start)
        parts.append(part.hits())
    np.testing.assert_array_equal(RunningTop.merged(parts, 100).ids, whole.hits().ids)


def test_scores_of_distances_are_minus_their_squares() -> None:
    draw = np.random.default_rng(4)
    queries, vectors = draw.standard_normal((3, 24), np.float32), draw.standard_normal((50, 24), np.float32)
    expected = -((queries[:, None] - vectors[None]) ** 2).sum(-1)
    np.testing.assert_allclose(similarity(queries, vectors, "l2"), expected, rtol=1e-4, atol=1e-4)
