"""The multi-task recipe's measures against sklearn and scipy, and its losses against a loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from recsys.recipe import run
from recsys.recipes.multitask import TrainTasks, expected_auc, rank_auc, spearman, task_losses
from recsys.recipes.task_grid import StaticGrid
from recsys.train.fit import Fit
from recsys.worlds.seesaw import SeesawWorld

SMALL = SeesawWorld(num_rows=900, valid_rows=300, test_rows=300)


@pytest.mark.parametrize("seed", range(3))
def test_auc_and_rank_correlation_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = (rng.random(80) < 0.3).astype(float), rng.integers(0, 9, 80).astype(float)
    assert rank_auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert spearman(labels, scores) == pytest.approx(stats.spearmanr(labels, scores)[0])
    assert np.isnan(rank_auc(np.zeros(5), np.arange(5.0)))
    assert spearman(np.zeros(5), np.arange(5.0)) == 0


def test_expected_auc_is_the_mean_over_draws_of_the_labels() -> None:
    rng = np.random.default_rng(0)
    chance, scores = rng.random(400), rng.random(400)
    scores += chance
    drawn = [rank_auc((rng.random(400) < chance).astype(float), scores) for _ in range(300)]
    assert expected_auc(chance, scores) == pytest.approx(np.mean(drawn), abs=0.01)


def test_losses_are_means_over_each_tasks_rows() -> None:
    torch.manual_seed(0)
    answers, task = torch.randn(7, 3), torch.tensor([0, 2, 1, 1, 0, 2, 2])
    label = torch.tensor([1.0, 30.0, 0.0, 1.0, 0.0, 2.0, 5.0])
    found = task_losses(lambda held: held, answers, task, label)
    for t in range(3):
        rows = [i for i in range(7) if task[i] == t]
        each = [
            (answers[i, 2] - label[i]) ** 2
            if t == 2
            else -(label[i] * answers[i, t].sigmoid().log() + (1 - label[i]) * (1 - answers[i, t].sigmoid()).log())
            for i in rows
        ]
        assert float(found[t]) == pytest.approx(float(sum(each)) / len(rows), rel=1e-5)
    assert task_losses(lambda held: held, answers[:2], torch.tensor([0, 0]), label[:2])[1:].tolist() == [0, 0]


def test_a_grid_of_one_point_is_the_sum() -> None:
    fit = Fit(steps=20, batch=96, checks=4)
    one = run(StaticGrid(world=SMALL, grid=((1.0, 1.0, 1.0),), train=fit), [0])[0].metrics
    plain = run(TrainTasks(world=SMALL, train=fit), [0])[0].metrics
    assert one["auc[click]"] == pytest.approx(plain["auc[click]"], abs=1e-4)
    assert one["point"] == 0


def test_evidence_has_a_row_count_and_a_curve_for_every_task() -> None:
    recipe = TrainTasks(world=SMALL, train=Fit(steps=24, batch=96, checks=12))
    logs = SMALL.sample(1).logs
    held = {type(part).__name__: part for part in recipe.evidence(recipe.fit(logs, 1), logs, 1).parts.values()}
    assert held["GradientTrace"].rows.sum(axis=1).tolist() == [96] * 24  # type: ignore[attr-defined]
    assert held["TaskCurves"].values.shape == (12, 3)  # type: ignore[attr-defined]
    assert (held["TaskCurves"].noise > 0).all()  # type: ignore[attr-defined]
    assert {"as_is", "alone", "normalised", "slower"} <= set(held["Interventions"].quality)  # type: ignore[attr-defined]
