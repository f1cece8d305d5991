"""What is special to two stages and the contract between them."""

from __future__ import annotations

import pytest
import torch

from problems.p42_ann_misalignment import PROBLEM
from recsys.diagnose.stages import IndexAudit, ScoreAudit, StageSwap
from recsys.recipe import with_steps

SMALL = {"num_items": 300, "num_queries": 120}


def metrics(arm: str, **world: float) -> dict[str, float]:
    made = with_steps(PROBLEM.build(arm, {**SMALL, **world}), 20)
    logs, truth = made.world.sample(0)
    return dict(made.evaluate(made.fit(logs, 0), logs, truth))


@pytest.mark.parametrize("arm", ["zscore", "rank", "quantile", "old_score"])
def test_what_has_no_scale_does_not_see_the_drift(arm: str) -> None:
    drifted, sound = metrics(arm, drift=20.0), metrics(arm, drift=1.0)
    assert drifted["ndcg@10"] == pytest.approx(sound["ndcg@10"], abs=0.02)  # rounding may swap near ties


def test_nothing_deployed_means_nothing_changes() -> None:
    assert metrics("healthy", drift=20.0, stale=1.0) == metrics("healthy", drift=1.0)


def test_a_rebuilt_index_is_a_fresh_one() -> None:
    assert metrics("rebuilt", drift=1.0, stale=1.0) == metrics("baseline", drift=1.0)
    assert metrics("baseline", drift=1.0, stale=1.0)["ndcg@10"] != metrics("baseline", drift=1.0)["ndcg@10"]


def test_a_coarse_index_is_less_faithful() -> None:
    one, many = (metrics("baseline", num_items=2400, probes=probes)["fidelity"] for probes in (1, 8))
    assert one < many < 1
    assert metrics("baseline")["fidelity"] == 1


def test_the_ceiling_orders_the_candidates_of_the_new_retriever_best() -> None:
    best, others = metrics("ceiling"), metrics("retrained")
    assert best["recall@100"] == others["recall@100"]
    assert best["ndcg@10"] > others["ndcg@10"]


def test_evidence_shows_what_the_fault_did_and_no_more() -> None:
    made = with_steps(PROBLEM.build("baseline", {**SMALL, "drift": 5.0, "stale": 0.4}), 20)
    logs = made.world.sample(0).logs
    held = made.evidence(made.fit(logs, 0), logs, 0)  # type: ignore[attr-defined]
    cosines = held.get(IndexAudit).cosines()
    assert 0.3 < float((cosines < 1 - 1e-6).double().mean()) < 0.5
    scores = held.get(ScoreAudit)
    assert float(scores.live.std()) > 2 * float(scores.train.std())
    swap = held.get(StageSwap)
    assert swap.before.shape == swap.retrained.shape  # type: ignore[union-attr]
    assert not torch.equal(swap.now, swap.reindexed)  # type: ignore[arg-type]
