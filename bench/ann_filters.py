"""What filters and a prior cost a search, as ratios to the same search without them; prints two tables.

python -m bench.ann_filters [ITEMS]: user-like queries, k = 100, CPU time of one thread, one query at a time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from recsys.index.exact import Hits, exact_search
from recsys.index.synthetic import SyntheticVectors, World
from recsys.index.tuning import STRENGTHS
from recsys.index.vector_index import IndexSpec, Traits, VectorIndex
from recsys.random import rng

K, QUERIES = 100, 200
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    spec = SyntheticVectors(n=n)
    world = World(spec)
    items = np.concatenate([world.chunk(number) for number in range(spec.chunks)]).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    dev, queries = (world.queries("ood", split, QUERIES) for split in ("dev", "test"))
    wealth = np.log(rng(0, "bench", "prior").pareto(1.2, n) + 1)
    prior = ((wealth - wealth.mean()) / wealth.std()).astype(np.float32)
    layout = IndexSpec(kind="ivf", lists=round(1.6 * n**0.5), recall_target=0.95)
    index = VectorIndex.build(items, None, layout, dev, Traits(prior=prior))
    print(f"{n} items, {index.lists} lists, {index.probes} probes without filter or prior")
    filters(index, items, queries)
    priors(index, items, prior, queries)


def filters(index: VectorIndex, items: np.ndarray, queries: np.ndarray) -> None:
    """Allowed at random, and the items farthest from the queries' mean."""
    print("| allowed | where | items | found | recall | p50 ratio | p99 ratio |\n|---|---|---|---|---|---|---|")
    far = items @ queries.mean(0)
    plain = spent(queries, lambda query: index.search(query, K))
    for share in SHARES:
        at_random = rng(0, "bench", "filter", str(share)).random(len(items)) < share
        for where, mask in (("random", at_random), ("far", far <= np.quantile(far, share))):
            hits, truth = index.search(queries, K, allowed=mask), exact(items, queries, mask)
            ratios = spent(queries, lambda query, mask=mask: index.search(query, K, allowed=mask)) / plain
            told = f"{100 * share:g} % | {where} | {mask.sum()} | {hits.ids.shape[1]} | {hits.recall(truth):.3f}"
            print(f"| {told} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


def priors(index: VectorIndex, items: np.ndarray, prior: np.ndarray, queries: np.ndarray) -> None:
    print("| strength | recall | p50 ratio | p99 ratio |\n|---|---|---|---|")
    whole = np.concatenate([items, prior[:, None]], axis=1)
    plain = spent(queries, lambda query: index.search(query, K))
    for weight in STRENGTHS:
        asked = np.concatenate([queries, np.full((len(queries), 1), weight, np.float32)], axis=1)
        recall = index.search(queries, K, prior_weight=weight).recall(exact(whole, asked, None))
        ratios = spent(queries, lambda query, weight=weight: index.search(query, K, prior_weight=weight)) / plain
        print(f"| {weight:g} | {recall:.3f} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


def exact(items: np.ndarray, queries: np.ndarray, mask: np.ndarray | None) -> Hits:
    return exact_search(items, np.arange(len(items)), queries, K, mask)


def spent(queries: np.ndarray, search: Callable[[np.ndarray], Hits]) -> np.ndarray:
    """CPU seconds of one query: median and 99th percentile, each query's the least of three."""
    each = np.empty((3, len(queries)))
    for turn in range(3):
        for row in range(len(queries)):
            began = time.process_time()
            search(queries[row : row + 1])
            each[turn, row] = time.process_time() - began
    return np.quantile(each.min(0), [0.5, 0.99])


if __name__ == "__main__":
    main()
