"""The joint recipe's measures against sklearn and loops; its masked loss against cross entropy by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from recsys.heads.joint_towers import JointTowers
from recsys.recipes.joint import TrainJoint, list_ndcg, recall
from recsys.train.fit import Fit
from recsys.worlds.coarse_fine import CoarseFineWorld

SMALL = CoarseFineWorld(num_users=120, num_items=150, num_lists=200, held_lists=60, list_size=12)


def test_ndcg_is_sklearns() -> None:
    rng = np.random.default_rng(0)
    gains, scores = rng.random((9, 14)), rng.random((9, 14))
    assert list_ndcg(torch.tensor(scores), torch.tensor(gains)) == pytest.approx(ndcg_score(gains, scores, k=10))


def test_recall_is_the_share_of_gains_within_the_first_hundred() -> None:
    rng = np.random.default_rng(1)
    scores, user = rng.random((5, 300)), np.array([3, 0, 3])
    items, gains = rng.integers(0, 300, (3, 8)), rng.random((3, 8))
    found = recall(*(torch.tensor(held) for held in (scores, user[:, None], items, gains)))
    best = [set(np.argsort(-scores[u])[:100]) for u in user]
    hit = np.array([[item in best[i] for item in row] for i, row in enumerate(items)])
    assert found == pytest.approx((gains * hit).sum() / gains.sum())


def test_a_late_head_keeps_its_first_weights_until_then() -> None:
    recipe = TrainJoint(world=SMALL, head_from=1.0, train=Fit(steps=6, batch=16))
    logs = SMALL.sample(0).logs
    fresh, trained = recipe.model(logs, 0), recipe.fit(logs, 0).model
    for name, before in fresh.named_parameters():
        same = torch.equal(before, dict(trained.named_parameters())[name])
        assert same == (name.startswith("ranker") or name in ("factor", "offset")), name


@pytest.mark.parametrize("sharing", ["shared", "private", "separate", "joined"])
@pytest.mark.parametrize("negatives", ["batch", "shown", "mined"])
def test_every_way_of_sharing_trains_with_every_kind_of_negatives(sharing: str, negatives: str) -> None:
    towers = JointTowers(sharing=sharing, width=4)  # type: ignore[arg-type]
    recipe = TrainJoint(world=SMALL, towers=towers, negatives=negatives, train=Fit(steps=3, batch=16))  # type: ignore[arg-type]
    logs, truth = SMALL.sample(0)
    assert all(np.isfinite(list(recipe.evaluate(recipe.fit(logs, 0), logs, truth).values())[:2]))


def test_evidence_is_complete_where_ranking_has_lost() -> None:
    recipe = TrainJoint(world=SMALL, head_from=1.0, train=Fit(steps=60, batch=16))
    logs = SMALL.sample(2).logs
    held = {type(part).__name__: part for part in recipe.evidence(recipe.fit(logs, 2), logs, 2).parts.values()}
    assert {"GradientTrace", "CandidateSwap", "Negatives", "AttributeProbe", "Interventions", "TaskCurves"} <= set(held)
    assert 0 <= held["Negatives"].share <= 1  # type: ignore[attr-defined]
