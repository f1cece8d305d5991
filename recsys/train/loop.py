"""The training loop: the same in one process and on every worker of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch

from recsys.artefact import join_uri
from recsys.batch import Batch
from recsys.data.ahead import ahead
from recsys.data.reader import BatchReader
from recsys.model import Recommender, build_model
from recsys.train.checkpoint import Origin, Position, RunState, restore, save_checkpoint
from recsys.train.objective import Losses, Objective, task_weights
from recsys.train.observe import Observer, steps_between
from recsys.train.retention import forget_old, latest_checkpoint
from recsys.train.schedule import warmup_cosine
from recsys.train.spec import TrainSpec
from recsys.train.trace import gradient_trace
from recsys.train.validate import Validation

BATCHES_AHEAD = 4  # made while a GPU is busy
Report = Callable[[int, str, dict[str, float]], None]  # step, kind (train, validation, gradient), numbers


@dataclass(frozen=True, slots=True)
class Run:
    """All that a worker needs to take part in a run."""

    objective: Objective
    origin: Origin
    folder: str  # local path or URI of training/: checkpoints lie below it
    reader: BatchReader
    report: Report
    validation: Validation | None = None
    observer: Observer | None = None  # of the first worker, when evidence is wanted

    @property
    def spec(self) -> TrainSpec:
        return self.objective.spec

    @property
    def steps(self) -> int:
        return self.spec.steps(self.reader.steps_per_epoch)


@dataclass(slots=True)
class Training:
    """The changing part of a run."""

    model: Recommender
    wrapped: Any
    optimiser: torch.optim.Optimizer
    position: Position
    metrics: dict[str, float] = field(default_factory=dict)


def fit(run: Run) -> Training:
    """Train to the end of the plan, from the newest whole checkpoint if there is one; every worker returns the same."""
    training = begin(run)
    if training.position.step < run.steps:
        stream = batches(run, training.position)
        if run.objective.workers.device.type == "cuda":  # there a thread has a core; on a CPU training needs it
            stream = ahead(stream, BATCHES_AHEAD)
        with closing(stream):
            for batch in stream:
                step(run, training, batch)
                after_step(run, training)
                if training.position.step == run.steps:
                    break
    training.model.eval()
    return training


def begin(run: Run) -> Training:
    workers = run.objective.workers
    model = build_model(run.origin.model, run.origin.dataset, seed=run.spec.seed).to(workers.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=run.spec.learning_rate, weight_decay=run.spec.weight_decay)
    held = latest_checkpoint(run.folder)
    position = restore(held, model, optimiser, run.origin.fingerprint) if held else Position(0, 0, 0)
    return Training(model, workers.wrap(model), optimiser, position)


def batches(run: Run, position: Position) -> Generator[Batch]:
    epoch, start = position.epoch, position.step_in_epoch
    while True:
        yield from run.reader.epoch(epoch, start)
        epoch, start = epoch + 1, 0


def step(run: Run, training: Training, batch: Batch) -> None:
    began, at = time.perf_counter(), training.position
    spec, workers, model = run.spec, run.objective.workers, training.model.train()
    torch.manual_seed(
        spec.seed * 1_000_003 + at.step * workers.world + workers.rank
    )  # dropout, the same after a resume
    for group in training.optimiser.param_groups:
        group["lr"] = spec.learning_rate * warmup_cosine(at.step, run.steps, spec.warmup_share)
    with torch.autocast(workers.device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
        losses = run.objective(model, training.wrapped, batch.to(workers.device), (at.step, at.epoch))
    if spec.trace_every and at.step % spec.trace_every == 0:
        run.report(at.step, "gradient", gradient_trace(model, losses, run.origin.dataset, workers))
        if run.observer:
            run.report(at.step, "evidence", run.observer.traced(losses, batch))
    training.optimiser.zero_grad(set_to_none=True)
    # DDP averages gradients over the workers, and the loss is the sum of theirs
    (losses.weighted(task_weights(spec, run.origin.dataset)) * workers.world).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm)
    training.optimiser.step()
    training.position = advanced(at, run.reader.steps_per_epoch)
    if training.position.step % spec.log_every == 0 or at.step == 0:
        numbers = {"gradient_norm": float(norm), "step_seconds": time.perf_counter() - began}
        run.report(training.position.step, "train", numbers | _means(run, training, losses))


def advanced(at: Position, steps_per_epoch: int) -> Position:
    within = at.step_in_epoch + 1
    return Position(at.step + 1, at.epoch + within // steps_per_epoch, within % steps_per_epoch)


def after_step(run: Run, training: Training) -> None:
    spec, at, last = run.spec, training.position.step, training.position.step == run.steps
    if run.validation and ((spec.validate_every and at % spec.validate_every == 0) or last):
        training.metrics = run.validation(training.model, run.objective)
        run.report(at, "validation", training.metrics)
    if run.observer and (at % steps_between(run.steps, spec.validate_every) == 0 or last):
        run.report(at, "quality", run.observer.checked(training.model, run.objective))
        if last:
            run.report(at, "noise", run.observer.ended())
    if at % spec.checkpoint_every == 0 or last:
        if run.objective.workers.chief:
            state = RunState(training.model, training.optimiser, training.position, training.metrics)
            save_checkpoint(join_uri(run.folder, "checkpoints", f"step-{at:07d}"), state, run.origin)
            forget_old(run.folder, spec.keep_checkpoints)
        run.objective.workers.wait()


def _means(run: Run, training: Training, losses: Losses) -> dict[str, float]:
    names = ["retrieval", *(task.name for task in run.origin.dataset.tasks)]
    means = losses.means(run.objective.workers)
    numbers = {f"loss.{name}": float(mean) for name, mean in zip(names, means, strict=True)}
    return numbers | {"learning_rate": training.optimiser.param_groups[0]["lr"]}
