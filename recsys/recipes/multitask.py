"""Several tasks on one shared tower, trained under any balancer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor, nn

from recsys.balance.balancer import Balanced, Balancer, Trace
from recsys.balance.targets import TargetScaler
from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.tasks import oscillation
from recsys.evaluate.classification import auc
from recsys.heads.task_towers import TaskTowers
from recsys.recipe import Metrics
from recsys.recipes import multitask_evidence
from recsys.samplers.tasks import MixedTasks, TaskBlocks
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import value
from recsys.worlds.seesaw import TASKS, SeesawLogs
from recsys.worlds.world import World

TRACED = 40  # steps of a run whose gradients are looked at


@dataclass(frozen=True)
class TaskRun(Fitted):
    """A trained model with what was seen on the way."""

    trace: Trace
    predictions: Tensor  # [C, V, T] on the validation rows at every check
    values: np.ndarray  # [C, T] validation quality

    def stats(self) -> dict[str, float]:
        swings = oscillation(self.values)
        names = {f"oscillation[{task}]": float(held) for task, held in zip(TASKS, swings, strict=True)}
        mean = torch.stack(self.trace.grams).diagonal(dim1=1, dim2=2).sqrt().mean(0)
        ratio = float(mean.max() / mean.min()) if float(mean.min()) > 0 else float("nan")
        return {**Fitted.stats(self), **names, "oscillation": float(np.mean(swings)), "norm_ratio": ratio}


@value
class TrainTasks:
    """Click, like and dwell: two cross entropies and a squared error, each a mean over the batch's rows of the task."""

    world: World
    towers: TaskTowers = TaskTowers()
    balancer: Balancer | None = None  # None: the sum of the losses
    target: TargetScaler = TargetScaler(kind="raw")
    sampler: MixedTasks | TaskBlocks = MixedTasks()
    train: Fit = Fit(steps=600, batch=384, learning_rate=3e-3, checks=30)
    scores: Literal["model", "truth"] = "model"

    def fit(self, logs: SeesawLogs, seed: int) -> TaskRun:
        trace = Trace(every=max(1, self.train.steps // TRACED))
        seen: list[Tensor] = []
        values: list[list[float]] = []

        def validate(held: nn.Module) -> float:
            seen.append(held(logs.valid_features))
            values.append(quality(logs.valid_labels, seen[-1]))
            return float(np.mean(values[-1]))

        lesson = Lesson(
            (logs.features, logs.task, self.labels(logs)), task_losses, validate,
            draw=self.sampler(logs.task, self.train.batch, seed),
            backward=Balanced(self.towers.shared, len(TASKS), seed, self.balancer, trace),
        )  # fmt: skip
        fitted = self.train(self.model(logs, seed), lesson, seed)
        return TaskRun(fitted.model, fitted.curve, fitted.steps, trace, torch.stack(seen), np.array(values))

    def labels(self, logs: SeesawLogs) -> Tensor:
        """[N] what the answers are held to: dwell in the unit of the target's scale."""
        scale = self.target.fit(logs.label[logs.task == 2])
        return torch.where(logs.task == 2, scale(logs.label), logs.label)

    def model(self, logs: SeesawLogs, seed: int) -> nn.Module:
        """Untrained, each answer at the mean of its labels: else rare ones spend the first steps on learning their rate."""
        means = [self.labels(logs)[logs.task == t].mean() for t in range(len(TASKS))]
        priors = [float(mean.logit(1e-6)) for mean in means[:2]] + [float(means[2])]
        return self.towers.build(logs.features.shape[1], priors, seed)

    def validation(self, model: nn.Module, logs: SeesawLogs) -> float:
        """Mean over the tasks of AUC or rank correlation, from logged labels."""
        return float(np.mean(quality(logs.valid_labels, model(logs.valid_features))))

    def evaluate(self, fitted: TaskRun, logs: SeesawLogs, truth: Any) -> Metrics:
        if self.scores == "truth":
            return task_qualities(truth, truths(truth))
        with torch.no_grad():
            scores = fitted.model(logs.test_features)
        backwards = 1 if self.balancer is None else len(TASKS)
        return {**task_qualities(truth, scores), "backwards": float(backwards), **fitted.stats()}

    def evidence(self, fitted: TaskRun, logs: SeesawLogs, seed: int) -> Evidence:
        return multitask_evidence.evidence(self, fitted, logs, seed, MEASURES)


def task_losses(model: Any, features: Tensor, task: Tensor, label: Tensor) -> Tensor:
    """[T] means over the rows of each task; 0 for a task without rows."""
    answers = model(features).gather(1, task[:, None])[:, 0]
    each = torch.where(
        task == 2,
        (answers - label).square(),
        F.binary_cross_entropy_with_logits(answers, label.clamp(0, 1), reduction="none"),
    )
    member = F.one_hot(task, len(TASKS)).to(each.dtype)
    return each @ member / member.sum(0).clamp(min=1)


def truths(truth: Any) -> Tensor:
    """[M, T] probabilities of click and like, expected dwell."""
    return torch.stack([truth.click, truth.like, truth.dwell], dim=1)


def task_qualities(truth: Any, scores: Tensor) -> dict[str, float]:
    """AUC against the true probabilities, rank correlation with the true mean of dwell; scores [M, T]."""
    means = truths(truth).numpy()
    click, like = (expected_auc(means[:, t], scores[:, t].numpy()) for t in range(2))
    dwell = spearman(means[:, 2], scores[:, 2].numpy())
    return {"auc[click]": click, "auc[like]": like, "auc[worse]": min(click, like), "spearman[dwell]": dwell}


def quality(labels: Tensor, answers: Tensor) -> list[float]:
    """AUC of click and of like, rank correlation of dwell, against labels [V, T]."""
    held, said = labels.numpy(), answers.numpy()
    return [measure(held[:, t], said[:, t]) for t, measure in enumerate(MEASURES)]


def rank_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """AUC by mid-ranks (Mann and Whitney 1947); NaN where one class is missing."""
    positives = float(labels.sum())
    pairs = positives * (len(labels) - positives)
    wins = float(rankdata(scores) @ labels) - positives * (positives + 1) / 2
    return wins / pairs if pairs else float("nan")


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of mid-ranks; 0 where one of the two is constant."""
    ranks = rankdata(a), rankdata(b)
    spread = ranks[0].std() * ranks[1].std()
    return float(np.mean((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())) / spread) if spread else 0.0


def expected_auc(chance: np.ndarray, scores: np.ndarray) -> float:
    """AUC over draws of the labels: every row is a positive with weight p and a negative with weight 1 - p."""
    labels = np.repeat([1.0, 0.0], len(chance))
    return auc(labels, np.tile(scores, 2), np.concatenate([chance, 1 - chance]))


MEASURES = (rank_auc, rank_auc, spearman)
