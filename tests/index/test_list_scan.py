"""A scan of lists where they lie finds what a comparison with everything allowed finds."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.index.exact import exact_search
from recsys.index.inverted import InvertedEngine
from recsys.index.spec import IndexSpec, Metric
from recsys.random import rng

N, DIM = 3000, 24


@pytest.mark.parametrize("metric", ["cosine", "inner_product", "l2"])
@pytest.mark.parametrize("share", [1.0, 0.3, 0.01, 0.0])
@pytest.mark.parametrize("k", [1, 40])
def test_the_nearest_allowed_are_found(metric: Metric, share: float, k: int) -> None:
    draw = rng(0, "scan")
    items, queries = (draw.standard_normal((count, DIM)).astype(np.float32) for count in (N, 7))
    if metric == "cosine":
        items, queries = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (items, queries))
    engine = InvertedEngine.build(items, IndexSpec(kind="ivf", metric=metric, lists=200))
    allowed = draw.random(N) < share
    hits, truth = engine.scan(queries, k, allowed), exact_search(items, np.arange(N), queries, k, allowed, metric)
    found = truth.ids.shape[1]
    np.testing.assert_array_equal(hits.ids[:, :found], truth.ids)
    np.testing.assert_allclose(hits.scores[:, :found], truth.scores, atol=1e-4)
    assert (hits.ids[:, found:] == -1).all()
