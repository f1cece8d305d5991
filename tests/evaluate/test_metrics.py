"""Every metric against an implementation that shares no code with ours."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ranx import Qrels, Run
from ranx import evaluate as ranx_evaluate
from sklearn.metrics import ndcg_score

from recsys.evaluate.metrics import METRICS, expected_ndcg, expected_recall, judge
from recsys.evaluate.ranks import tied_ranks, top_k
from tests.evaluate.worlds import jagged, random_rows

SAME = {
    "uncapped_recall": "recall",
    "precision": "precision",
    "hit": "hit_rate",
    "ndcg": "ndcg",
    "mrr": "mrr",
    "uncapped_map": "map",
}


def by_ranx(scores: np.ndarray, relevant: list[list[int]], grades: list[list[int]], k: int) -> dict[str, np.ndarray]:
    """ranx keeps the order of equal scores only by luck, so it is given distinct scores in the order of top_k."""
    depth = min(k, scores.shape[1])
    ranked = top_k(torch.from_numpy(scores), depth).tolist()
    run = Run({f"{u:03}": {str(i): float(depth - r) for r, i in enumerate(row)} for u, row in enumerate(ranked)})
    qrels = Qrels(
        {
            f"{u:03}": dict(zip(map(str, row), grade, strict=True)) or {"none": 0}
            for u, (row, grade) in enumerate(zip(relevant, grades, strict=True))
        }
    )
    names = [f"{theirs}@{k}" for theirs in SAME.values()]
    return ranx_evaluate(qrels, run, names, return_mean=False)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 30), st.booleans())
def test_equal_to_ranx(seed: int, k: int, graded: bool):
    generator = np.random.default_rng(seed)
    num_items = int(generator.integers(3, 20))
    relevant = random_rows(generator, 7, num_items, num_items)
    grades = [generator.integers(1, 4 if graded else 2, len(row)).tolist() for row in relevant]
    scores = generator.integers(0, 4, (7, num_items)).astype(np.float64)  # heavy ties
    judged = judge(
        top_k(torch.from_numpy(scores), k),
        jagged(relevant),
        torch.tensor([g for row in grades for g in row], dtype=torch.float64),
    )
    theirs = by_ranx(scores, relevant, grades, k)
    nobody = np.array([not row for row in relevant])
    for ours, name in SAME.items():
        found = METRICS[ours](judged, k).numpy()
        assert np.isnan(found[nobody]).all()
        # ranx divides precision by the places that hold an item, not by the places that were asked for
        expected = theirs[f"{name}@{k}"] * (min(k, num_items) / k if ours == "precision" else 1)
        np.testing.assert_allclose(found[~nobody], expected[~nobody], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 30))
def test_capped_metrics_are_one_for_the_best_list(seed: int, k: int):
    generator = np.random.default_rng(seed)
    relevant = random_rows(generator, 6, 15, 15)
    best = torch.tensor([(row + [i for i in range(15) if i not in row])[:k] + [-1] * max(0, k - 15) for row in relevant])
    judged = judge(best, jagged(relevant))
    nobody = np.array([not row for row in relevant])
    for name in ("recall", "hit", "ndcg", "mrr", "map"):
        assert METRICS[name](judged, k).numpy()[~nobody] == pytest.approx(1)


def test_recall_is_capped_and_the_other_one_is_not():
    judged = judge(torch.tensor([[0, 1, 9]]), jagged([[0, 1, 2, 3, 4, 5]]))
    assert METRICS["recall"](judged, 3).item() == pytest.approx(2 / 3)
    assert METRICS["uncapped_recall"](judged, 3).item() == pytest.approx(2 / 6)
    assert METRICS["map"](judged, 3).item() == pytest.approx((1 + 1) / 3)
    assert METRICS["uncapped_map"](judged, 3).item() == pytest.approx((1 + 1) / 6)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 14))
def test_expected_ndcg_equals_sklearn_under_ties(seed: int, k: int):
    generator = np.random.default_rng(seed)
    relevant = random_rows(generator, 8, 12, 12)
    scores = generator.integers(0, 3, (8, 12)).astype(np.float64)
    ours = expected_ndcg(tied_ranks(torch.from_numpy(scores), jagged(relevant)), jagged(relevant).lengths, k)
    for u, row in enumerate(relevant):
        if not row:
            assert np.isnan(ours[u])
            continue
        truth = np.zeros((1, 12))
        truth[0, row] = 1
        assert ours[u].item() == pytest.approx(ndcg_score(truth, scores[u : u + 1], k=k), abs=1e-6)


def test_expected_recall_is_the_mean_over_all_orders():
    scores, relevant, k = np.array([2.0, 1.0, 1.0, 1.0, 0.0, 1.0]), [1, 4, 5], 3
    found = []
    for order in itertools.permutations(range(6)):
        ranked = sorted(range(6), key=lambda i: (-scores[i], order[i]))[:k]
        found.append(len(set(ranked) & set(relevant)) / min(k, len(relevant)))
    rows = jagged([relevant])
    ours = expected_recall(tied_ranks(torch.tensor(scores)[None], rows), rows.lengths, k)
    assert ours.item() == pytest.approx(np.mean(found))


def test_a_cutoff_beyond_the_list_is_an_error_and_bad_grades_too():
    judged = judge(torch.tensor([[0, 1]]), jagged([[1]]))
    with pytest.raises(ValueError, match="rank deeper"):
        METRICS["recall"](judged, 3)
    with pytest.raises(ValueError, match="positive"):
        judge(torch.tensor([[0, 1]]), jagged([[1]]), torch.tensor([0.0]))
    with pytest.raises(ValueError, match="2 users"):
        judge(torch.tensor([[0, 1]]), jagged([[1], [2]]))


def test_no_relevant_item_at_all():
    judged = judge(torch.tensor([[0, 1], [1, 0]]), jagged([[], []]))
    assert all(METRICS[name](judged, 2).isnan().all() for name in METRICS)
