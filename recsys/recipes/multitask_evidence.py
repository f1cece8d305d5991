"""What a practitioner can find out about a multi-task training: its traces, and trainings with one thing changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from recsys.balance.balancer import norms
from recsys.balance.norm_ema import GradNormEMA
from recsys.diagnose import tasks as names
from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.tasks import GradientTrace, Interventions, TaskCurves, difference_noise, oscillation
from recsys.samplers.tasks import MixedTasks
from recsys.worlds.seesaw import TASKS, SeesawLogs

if TYPE_CHECKING:
    from recsys.recipes.multitask import TaskRun, TrainTasks

Measure = Callable[[np.ndarray, np.ndarray], float]


def gradient_trace(run: TaskRun, rows: np.ndarray | None) -> GradientTrace:
    """Norms and cosines of the traced steps."""
    grams = torch.stack(run.trace.grams)
    lengths = torch.stack([norms(gram) for gram in run.trace.grams])
    first, second = torch.triu_indices(len(TASKS), len(TASKS), offset=1)
    cosines = grams[:, first, second] / (lengths[:, first] * lengths[:, second])  # nan for a task without rows
    return GradientTrace(TASKS, np.array(run.trace.steps), lengths.numpy(), cosines.numpy(), rows)


def task_curves(run: TaskRun, logs: SeesawLogs, measures: tuple[Measure, ...], every: int) -> TaskCurves:
    """The validation curves with what the validation set's size alone would make them move."""
    labels, said = logs.valid_labels.numpy(), run.predictions.numpy()
    late = slice(len(said) // 3, None)
    noise = [difference_noise(measure, labels[:, t], said[late, :, t]) for t, measure in enumerate(measures)]
    return TaskCurves(TASKS, every * np.arange(1, len(said) + 1), run.values, np.array(noise))


def batch_rows(recipe: TrainTasks, logs: SeesawLogs, seed: int, steps: list[int]) -> np.ndarray:
    """[S, T] rows of each task in the batches of these steps."""
    draw = recipe.sampler(logs.task, recipe.train.batch, seed)
    return np.stack([np.bincount(logs.task[draw(step)], minlength=len(TASKS)) for step in steps])


def interventions(recipe: TrainTasks, run: TaskRun, logs: SeesawLogs, seed: int) -> Interventions:
    """Retrain with one thing changed, in the order in which answers are needed.

    A wider shared layer and split towers are tried only if some task that is heard as loudly as the others is still below
    what it reaches alone; mixed batches only if batches aren't mixed already.
    """
    alone = replace(recipe.towers, sharing="alone")
    unclipped = replace(recipe.train, clip=None)  # else a task's step would depend on the other tasks' models
    heard = replace(recipe, balancer=GradNormEMA())
    runs = {
        names.AS_IS: run,
        names.ALONE: replace(recipe, towers=alone, balancer=None, train=unclipped).fit(logs, seed),
        names.NORMALISED: heard.fit(logs, seed),
        names.SLOWER: replace(
            recipe, train=replace(recipe.train, learning_rate=recipe.train.learning_rate / 10)
        ).fit(logs, seed),
    }  # fmt: skip
    if recipe.sampler != MixedTasks():
        runs[names.MIXED] = replace(recipe, sampler=MixedTasks()).fit(logs, seed)
    gap = last(runs[names.ALONE]) - last(runs[names.NORMALISED])
    if float(gap.max()) > names.BELOW:
        wider = replace(recipe.towers, width=2 * recipe.towers.width)
        runs[names.WIDER] = replace(heard, towers=wider).fit(logs, seed)
        runs[names.SPLIT] = replace(heard, towers=replace(recipe.towers, sharing="ple")).fit(logs, seed)
    return Interventions(
        TASKS,
        {name: tuple(last(held).tolist()) for name, held in runs.items()},
        {name: tuple(oscillation(held.values).tolist()) for name, held in runs.items()},
    )


def last(run: TaskRun) -> np.ndarray:
    """[T] quality at the end, as the mean of the last three checks."""
    return run.values[-3:].mean(axis=0)


def evidence(recipe: TrainTasks, run: TaskRun, logs: SeesawLogs, seed: int, measures: tuple[Measure, ...]) -> Evidence:
    rows = batch_rows(recipe, logs, seed, run.trace.steps)
    every = max(1, run.steps // len(run.values))
    return Evidence.of(
        gradient_trace(run, rows), task_curves(run, logs, measures, every), interventions(recipe, run, logs, seed)
    )
