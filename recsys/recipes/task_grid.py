"""A grid of static loss weights, trained as one batched model: what the best scalar weighting could have reached."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recsys.recipe import Metrics
from recsys.recipes.multitask import TrainTasks, task_losses, task_qualities
from recsys.train.fit import Fitted, Lesson
from recsys.value import require, value
from recsys.worlds.seesaw import SeesawLogs


@dataclass(frozen=True)
class GridRun:
    """Models in the order of the grid."""

    fitted: list[Fitted]


@value
class StaticGrid(TrainTasks):
    """Every point of `grid` trained with the rows and the first weights of one seed.

    The point reported is the best for the worse of click and like among those that keep dwell within `keep` of the first
    point, and it is picked with the truth in hand: an upper bound of what tuning could pick, which favours static weights.
    """

    grid: tuple[tuple[float, ...], ...] = ((1.0, 1.0, 1.0),)
    keep: float = 0.01

    def __post_init__(self) -> None:
        require(len(self.grid) > 0, "a grid needs at least one point of weights")

    def fit(self, logs: SeesawLogs, seed: int) -> GridRun:  # type: ignore[override]
        models = [self.model(logs, seed) for _ in self.grid]
        draw = self.sampler(logs.task, self.train.batch, seed)
        label = self.labels(logs)
        lessons = [
            Lesson((logs.features, logs.task, label, torch.tensor(point).expand(len(label), -1)), _weighed,
                   lambda model: self.validation(model, logs), draw=draw)
            for point in self.grid
        ]  # fmt: skip
        return GridRun(replace(self.train, checks=8).together(models, lessons, [seed] * len(models)))

    def evaluate(self, fitted: GridRun, logs: SeesawLogs, truth: Any) -> Metrics:  # type: ignore[override]
        with torch.no_grad():
            found = [task_qualities(truth, held.model(logs.test_features)) for held in fitted.fitted]
        floor = found[0]["spearman[dwell]"] - self.keep
        kept = [i for i, held in enumerate(found) if held["spearman[dwell]"] >= floor]
        best = max(kept, key=lambda i: found[i]["auc[worse]"])
        return {**found[best], "point": float(best), "points_kept": float(len(kept)), **fitted.fitted[best].stats()}


def _weighed(model: Any, features: Tensor, task: Tensor, label: Tensor, weights: Tensor) -> Tensor:
    return (task_losses(model, features, task, label) * weights[0]).sum()
