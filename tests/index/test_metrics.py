"""Each metric finds what brute force in float64 finds, and takes only vectors that it can rank."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from recsys.index.exact import Hits, exact_search
from recsys.index.spec import Metric
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import rng
from tests.index.shop import shop

METRICS: tuple[Metric, ...] = ("cosine", "inner_product", "l2")
N, K = 20_000, 50


@lru_cache(maxsize=8)
def world(metric: Metric, norms: str = "lognormal") -> tuple[np.ndarray, np.ndarray]:
    """Items and queries; all but cosine's of norms that differ by a factor of ten and more."""
    held, draw = shop(N), rng(0, "norms", norms)
    if metric == "cosine":
        return held.items, held.users
    lengths = np.exp(0.5 * draw.standard_normal(N)) if norms == "lognormal" else 1 + draw.pareto(3, N)
    offset = 40.0 if metric == "l2" else 0.0  # far from the origin, where squares cancel
    items = (held.items * lengths[:, None] + offset).astype(np.float32)
    return items, (3 * held.users + offset).astype(np.float32)


def truth(items: np.ndarray, queries: np.ndarray, k: int, metric: Metric) -> Hits:
    wide, asked = items.astype(np.float64), queries.astype(np.float64)
    scores = -np.stack([((wide - one) ** 2).sum(1) for one in asked]) if metric == "l2" else asked @ wide.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Hits(order, np.take_along_axis(scores, order, axis=1))


@pytest.mark.parametrize("metric", METRICS)
def test_a_scan_is_brute_force(metric: Metric) -> None:
    items, queries = world(metric)
    items, queries = items[:3000], queries[:40]
    true = truth(items, queries, K, metric)
    index = VectorIndex.build(items, None, IndexSpec(kind="flat", metric=metric))
    mask = np.ones(3000, dtype=bool)
    mask[2999] = False  # with a filter, rows are fetched and scored another way
    exact = exact_search(items, np.arange(3000), queries, K, metric=metric)
    for hits, close in ((index.search(queries, K), metric != "l2"), (exact, True)):
        assert hits.recall(true) >= 0.99
        if close:
            np.testing.assert_allclose(hits.scores, true.scores, rtol=1e-4, atol=1e-3)
    masked = index.search(queries, K, allowed=mask)
    assert masked.recall(truth(items[:2999], queries, K, metric)) >= 0.999


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("norms", ["lognormal", "pareto"])
def test_lists_reach_their_recall(metric: Metric, norms: str) -> None:
    """Uneven norms are where inner products fail others: most items have a larger product with another than with themselves."""
    items, queries = world(metric, norms)
    spec = IndexSpec(kind="ivf", metric=metric, lists=128, recall_target=0.95)
    index = VectorIndex.build(items, None, spec, queries[::2])
    assert index.search(queries[1::2], K).recall(truth(items, queries[1::2], K, metric)) >= 0.93
    assert index.probes < 100


@pytest.mark.parametrize("metric", METRICS)
def test_more_is_nearer_whatever_the_metric(metric: Metric) -> None:
    items, queries = world(metric)
    hits = VectorIndex.build(items[:500], None, IndexSpec(metric=metric)).search(queries[:9], 500)
    assert (np.diff(hits.scores, axis=1) <= 0).all()
    assert (np.sort(hits.ids, axis=1) == np.arange(500)).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3e19])
def test_rows_that_a_metric_cannot_rank_are_named(metric: Metric, wrong: float) -> None:
    items, queries = (held[:20].copy() for held in world(metric))
    index = VectorIndex.build(items, None, IndexSpec(metric=metric))
    items[7, 3] = queries[4, 0] = wrong
    with pytest.raises(ValueError, match="vectors: row 7 has norm"):
        VectorIndex.build(items, None, IndexSpec(metric=metric))
    with pytest.raises(ValueError, match="queries: row 4 has norm"):
        index.search(queries, 3)


def test_only_cosine_asks_for_norm_one() -> None:
    items = 2 * world("cosine")[0][:30]
    with pytest.raises(ValueError, match="normalise vectors to norm 1"):
        VectorIndex.build(items, None, IndexSpec())
    for metric in METRICS[1:]:
        assert len(VectorIndex.build(items, None, IndexSpec(metric=metric))) == 30
