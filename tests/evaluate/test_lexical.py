"""BM25 against its formula, fused lists against a loop, buckets by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recsys.evaluate.buckets import bucket_means, micro_mean, recall_of_each
from recsys.evaluate.lexical import BM25
from recsys.random import torch_rng
from recsys.rerank.fusion import ReciprocalRankFusion, mean_places


def texts(rows: int, longest: int, seed: int) -> Tensor:
    generator = torch_rng(seed, "texts")
    words = torch.randint(1, 15, (rows, longest), generator=generator)
    return words.masked_fill(torch.arange(longest) >= torch.randint(1, longest + 1, (rows, 1), generator=generator), 0)


def slow_bm25(query: list[int], items: list[list[int]], k1: float, b: float) -> list[float]:
    items = [[word for word in item if word] for item in items]
    mean = sum(map(len, items)) / len(items)
    found = []
    for item in items:
        total = 0.0
        for word in (word for word in query if word):
            holders = sum(word in other for other in items)
            idf = math.log(1 + (len(items) - holders + 0.5) / (holders + 0.5))
            times = item.count(word)
            total += idf * times * (k1 + 1) / (times + k1 * (1 - b + b * len(item) / mean)) if times else 0
        found.append(total)
    return found


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.0), (2.0, 1.0)])
def test_bm25_is_its_formula(k1: float, b: float) -> None:
    items, queries = texts(30, 6, 0), texts(9, 3, 1)
    queries[0, 0] = 99  # a word that no item has
    found = BM25(k1=k1, b=b).fit(items)(queries)
    slow = torch.tensor([slow_bm25(query, items.tolist(), k1, b) for query in queries.tolist()])
    assert torch.allclose(found, slow.float(), atol=1e-5)


def slow_fusion(lists: list[list[float]], k: float) -> list[float]:
    total = [0.0] * len(lists[0])
    for scores in lists:
        for i, score in enumerate(scores):
            above = sum(other > score for other in scores)
            tied = sum(other == score for other in scores)
            total[i] += 1 / (k + above + (tied + 1) / 2)
    return total


def test_fused_lists_are_those_of_a_loop() -> None:
    first = torch.randn(4, 12, generator=torch_rng(0, "scores"))
    second = torch.randint(0, 4, (4, 12), generator=torch_rng(0, "ties")).float()
    found = ReciprocalRankFusion(k=7)(first, second)
    slow = torch.tensor([slow_fusion([a, b], 7) for a, b in zip(first.tolist(), second.tolist(), strict=True)])
    assert torch.allclose(found, slow, atol=1e-6)
    assert torch.equal(mean_places(torch.zeros(1, 5)), torch.full((1, 5), 3.0))


def test_scale_says_nothing_and_depth_cuts() -> None:
    first = torch.randn(3, 20, generator=torch_rng(0, "scores"))
    fusion = ReciprocalRankFusion()
    assert torch.equal(fusion(first, -first), fusion(100 * first + 3, -first))
    deep = ReciprocalRankFusion(depth=5)(first)
    assert bool(((deep > 0).sum(1) == 5).all())
    gone = first.clone()
    gone[:, 0] = -torch.inf
    assert bool((fusion(gone)[:, 0] == 0).all())


def test_recall_of_each_query_is_a_loop_s() -> None:
    scores = torch.randn(6, 30, generator=torch_rng(0, "scores"))
    relevant = torch.rand(6, 30, generator=torch_rng(0, "relevant")) < 0.3
    relevant[2] = False
    found = recall_of_each(scores, relevant, 5)
    for row in range(6):
        right = set(relevant[row].nonzero()[:, 0].tolist())
        listed = set(scores[row].topk(5).indices.tolist())
        assert not right or float(found[row]) == pytest.approx(len(right & listed) / min(5, len(right)))
    assert bool(found[2].isnan())


def test_buckets_count_queries_and_traffic_counts_clicks() -> None:
    values, typed = torch.tensor([1.0, 0.5, 0.0, torch.nan]), torch.tensor([98, 2, 0, 5])
    found = bucket_means(values, typed, {"head": (50, math.inf), "torso": (1, 50), "tail": (0, 1)})
    assert found == {"head": 1.0, "torso": 0.5, "tail": 0.0}
    assert micro_mean(values, typed) == pytest.approx(0.99)
    assert math.isnan(bucket_means(values, typed, {"none": (1000, 2000)})["none"])
    with pytest.raises(ValueError, match="'a' is empty"):
        bucket_means(values, typed, {"a": (2, 2)})
    with pytest.raises(ValueError, match="no traffic"):
        micro_mean(values, torch.zeros(4))
