"""The shape of vectors, and what the detector makes of it, on evidence made by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from recsys.diagnose.collapse import CollapseDetector
from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence
from recsys.diagnose.embedding import EmbeddingHealth, Shape, copies, effective_rank
from recsys.diagnose.training import Replays, TrainingTrace, tail

BALL = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
POINT = 0.01 * (torch.ones(16) + 0.01 * BALL)


def trace(**given: Any) -> TrainingTrace:
    ones = torch.ones(50)
    return TrainingTrace(**{"loss": 0.5 * ones, "margin": 1.0, "active": 0.5 * ones, "weight": ones, **given})


def said(vectors: torch.Tensor, *parts: Any, **health: Any) -> str:
    return CollapseDetector()(Evidence.of(EmbeddingHealth(vectors, **health), *parts)).cause


def test_a_ball_is_spread_and_a_point_is_not_and_rank_cannot_tell_them_apart() -> None:
    ball, point = Shape.of(BALL), Shape.of(POINT)
    assert ball.spread == pytest.approx(2**0.5, rel=0.05)
    assert abs(ball.cosine) < 0.02
    assert point.spread < 0.02
    assert point.cosine > 0.99
    assert point.rank == pytest.approx(ball.rank, abs=1e-6)
    unit = F.normalize(BALL, dim=1)
    assert ball.cosine == pytest.approx(float((unit @ unit.T).fill_diagonal_(0).sum() / (300 * 299)), abs=1e-5)


def test_effective_rank_of_equal_directions_is_their_number() -> None:
    turned = torch.linalg.qr(torch.randn(64, 5, dtype=torch.float64)).Q
    turned = torch.cat([turned, -turned])
    assert effective_rank(turned @ torch.linalg.qr(torch.randn(12, 5, dtype=torch.float64)).Q.T) == pytest.approx(
        5, rel=1e-6
    )


def test_vectors_that_are_no_matrix_are_refused() -> None:
    with pytest.raises(ValueError, match=r"N >= 2"):
        Shape.of(torch.zeros(1, 4))


def test_copies_under_other_labels_alone_count() -> None:
    features, labels = BALL.clone(), torch.arange(300) % 10
    features[1], features[20] = features[0] + 0.01, features[10] + 0.01  # labels 1 and 0; 0 and 0
    assert copies(features, labels).nonzero().squeeze(1).tolist() == [0, 1]


def test_without_a_trace_a_collapsed_space_has_no_cause_yet() -> None:
    found = CollapseDetector()(Evidence.of(EmbeddingHealth(POINT)))
    assert found.cause == ABSTAIN
    assert "semi-hard" in (found.next_experiment or "")
    assert said(BALL) == HEALTHY
    assert said(BALL[:, :1] @ torch.ones(1, 16)) == "low_rank"


def test_each_cause_by_its_signs() -> None:
    lost = {"loss": torch.ones(50), "active": torch.ones(50)}
    other = Replays(items=500, as_it_was=0.03, other_miner=0.2, without_copies=0.03)
    assert said(POINT, trace(**lost), other) == "hard_negatives"
    assert said(0.1 * BALL, trace(**lost), other) == "hard_negatives"  # on its way to the origin
    assert said(POINT, trace(**lost, weight=torch.linspace(1, 0.001, 50)), other) == "weight_decay"
    assert said(BALL, trace(weight=torch.linspace(1, 30, 50)), other) == "learning_rate"
    idle = trace(active=torch.full((50,), 0.05), semihard_active=0.9)
    assert said(BALL, idle) == "easy_negatives"
    assert said(BALL, trace(active=torch.full((50,), 0.05), semihard_active=0.06)) == HEALTHY
    assert said(BALL, trace(), Replays(items=500, as_it_was=0.2, other_miner=0.22)) == HEALTHY


def test_a_collapse_that_no_replay_explains_is_left_open() -> None:
    useless = Replays(items=500, as_it_was=0.2, other_miner=0.2, without_copies=0.2)
    assert said(POINT, trace(loss=torch.ones(50), active=torch.ones(50)), useless) == ABSTAIN


def test_copies_are_the_cause_only_where_leaving_them_out_helps() -> None:
    features, labels = BALL.clone(), torch.arange(300) % 10
    features[1:40:2] = features[0:40:2] + 0.001
    lost = trace(loss=torch.ones(50), active=torch.ones(50))
    given = {"features": features, "labels": labels}
    cured = Replays(items=500, as_it_was=0.1, other_miner=0.5, without_copies=0.6)
    useless = Replays(items=500, as_it_was=0.1, other_miner=0.5, without_copies=0.11)
    assert said(POINT, lost, cured, **given) == "false_negatives"
    assert said(POINT, lost, useless, **given) == "hard_negatives"


def test_the_soft_margin_collapses_at_ln_2() -> None:
    lost = trace(loss=torch.full((50,), 0.6932), margin=None, active=torch.ones(50))
    found = CollapseDetector()(Evidence.of(EmbeddingHealth(POINT), lost))
    excess = next(row.value for row in found.evidence if row.signal.startswith("loss over margin"))
    assert abs(excess) < 1e-3


def test_gain_is_the_two_proportion_test() -> None:
    held = Replays(items=400, as_it_was=0.1, other_miner=0.2)
    assert held.gain(held.other_miner) == pytest.approx(0.1 / (2 * 0.15 * 0.85 / 400) ** 0.5)
    assert held.gain(None) != held.gain(None)


def test_the_tail_is_the_last_tenth() -> None:
    assert tail(torch.arange(20.0)) == 18.5
    with pytest.raises(ValueError, match="empty"):
        tail(torch.zeros(0))


def test_weights_that_grew_in_a_run_that_settled_are_no_fault() -> None:
    falling, weight = torch.linspace(1.0, 0.01, 50), torch.linspace(1.0, 8.0, 50)
    assert said(BALL, TrainingTrace(falling, triplets=False, gradient=falling, weight=weight)) == HEALTHY
    assert said(BALL, TrainingTrace(falling, triplets=False, gradient=1 / falling, weight=weight)) == "learning_rate"
