"""Every metric against an implementation that shares no code with ours."""

import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from recsys.evaluate.metrics import METRICS, expected_ndcg, expected_recall, judge
from recsys.evaluate.ranks import tied_ranks, top_k
from tests.evaluate.worlds import jagged, random_rows

RANX = """
import json, sys
import numpy as np
from ranx import evaluate
names = ["recall", "precision", "hit_rate", "ndcg", "mrr", "map"]
answers = []
for case in json.load(sys.stdin):
    qrels = [np.array(rows, dtype=float) for rows in case["qrels"]]
    run = [np.array(rows, dtype=float) for rows in case["run"]]
    found = evaluate(qrels, run, [f"{name}@{case['k']}" for name in names], return_mean=False)
    answers.append({name: found[f"{name}@{case['k']}"].tolist() for name in names})
json.dump(answers, sys.stdout)
"""
SAME = {
    "uncapped_recall": "recall",
    "precision": "precision",
    "hit": "hit_rate",
    "ndcg": "ndcg",
    "mrr": "mrr",
    "uncapped_map": "map",
}


def by_ranx(cases: list[dict]) -> list[dict[str, list[float]]]:
    """ranx in a process of its own, interpreted: compiling it takes longer than all tests of this folder."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RANX],
        input=json.dumps(cases),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def random_case(seed: int) -> tuple[np.ndarray, list[list[int]], list[list[float]], int]:
    """Scores [7, V] with heavy ties, relevant items with grades, and a cutoff that is often beyond the catalogue."""
    generator = np.random.default_rng(seed)
    num_items, k = int(generator.integers(3, 20)), int(generator.integers(1, 30))
    relevant = random_rows(generator, 7, num_items, num_items)
    grades = [generator.integers(1, 2 + 2 * (seed % 2), len(row)).astype(float).tolist() for row in relevant]
    return generator.integers(0, 4, (7, num_items)).astype(np.float64), relevant, grades, k


def test_equal_to_ranx():
    worlds = [random_case(seed) for seed in range(150)]
    cases = []
    for scores, relevant, grades, k in worlds:
        depth = min(k, scores.shape[1])
        ranked = top_k(torch.from_numpy(scores), depth).tolist()
        # equal scores have no order in ranx, so it is given falling scores in the order of top_k
        run = [[[item, float(depth - r)] for r, item in enumerate(row)] for row in ranked]
        judgements = [
            sorted(([i, g] for i, g in zip(row, grade, strict=True)), key=lambda pair: -pair[1]) or [[1000, 0.0]]
            for row, grade in zip(relevant, grades, strict=True)
        ]
        cases.append({"run": run, "qrels": judgements, "k": k})
    for (scores, relevant, grades, k), theirs in zip(worlds, by_ranx(cases), strict=True):
        flat = torch.tensor([g for grade in grades for g in grade], dtype=torch.float64)
        judged = judge(top_k(torch.from_numpy(scores), k), jagged(relevant), flat)
        nobody = np.array([not row for row in relevant])
        for ours, name in SAME.items():
            found = METRICS[ours](judged, k).numpy()
            assert np.isnan(found[nobody]).all()
            np.testing.assert_allclose(
                found[~nobody], np.array(theirs[name])[~nobody], atol=1e-6, err_msg=f"{ours} {k}"
            )


def slow(relevant: list[int], ranked: list[int], k: int) -> dict[str, float]:
    """The definitions, word by word."""
    hits = [r for r, item in enumerate(ranked[:k], 1) if item in relevant]
    most = min(k, len(relevant))
    precisions = [(h + 1) / r for h, r in enumerate(hits)]
    best = sum(1 / math.log2(r + 1) for r in range(1, most + 1))
    return {
        "recall": len(hits) / most,
        "uncapped_recall": len(hits) / len(relevant),
        "precision": len(hits) / k,
        "hit": float(bool(hits)),
        "mrr": 1 / hits[0] if hits else 0.0,
        "map": sum(precisions) / most,
        "uncapped_map": sum(precisions) / len(relevant),
        "ndcg": sum(1 / math.log2(r + 1) for r in hits) / best,
    }


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 30))
def test_equal_to_the_definitions(seed: int, k: int):
    scores, relevant, _, _ = random_case(seed)
    ranked = top_k(torch.from_numpy(scores), k)
    judged = judge(ranked, jagged(relevant))
    found = {name: metric(judged, k) for name, metric in METRICS.items()}
    for u, row in enumerate(relevant):
        ours = {name: values[u].item() for name, values in found.items()}
        if row:
            assert ours == pytest.approx(slow(row, ranked[u].tolist(), k), abs=1e-9)
        else:
            assert all(math.isnan(x) for x in ours.values())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000), st.integers(1, 30))
def test_capped_metrics_are_one_for_the_best_list(seed: int, k: int):
    generator = np.random.default_rng(seed)
    relevant = random_rows(generator, 6, 15, 15)
    best = torch.tensor(
        [(row + [i for i in range(15) if i not in row])[:k] + [-1] * max(0, k - 15) for row in relevant]
    )
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
