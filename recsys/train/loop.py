"""The training loop: the same in one process and on every worker of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys.artefact import join_uri
from recsys.batch import Batch
from recsys.data.catalogue import Catalogue, UserTable
from recsys.data.reader import BatchReader
from recsys.model import Recommender, build_model
from recsys.train.checkpoint import Origin, Position, RunState, restore, save_checkpoint
from recsys.train.objective import Losses, losses_of
from recsys.train.retention import forget_old, latest_checkpoint
from recsys.train.schedule import warmup_cosine
from recsys.train.spec import TrainSpec
from recsys.train.trace import gradient_trace
from recsys.train.validate import Validation
from recsys.train.workers import Workers

Report = Callable[[int, str, dict[str, float]], None]  # step, kind ("train" | "validation" | "gradient"), numbers


@dataclass(frozen=True, slots=True)
class Run:
    """All that a worker needs to take part in a run."""

    spec: TrainSpec
    origin: Origin
    folder: str  # local path or URI of training/: checkpoints lie below it
    catalogue: Catalogue
    users: UserTable
    reader: BatchReader
    workers: Workers
    report: Report
    validation: Validation | None = None


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
    steps = run.spec.steps(run.reader.steps_per_epoch)
    for batch in batches(run, training.position):
        if training.position.step >= steps:
            break
        step(run, training, batch, steps)
        after_step(run, training, steps)
    finish(run, training)
    return training


def begin(run: Run) -> Training:
    model = build_model(run.origin.model, run.origin.dataset, seed=run.spec.seed).to(run.workers.device)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=run.spec.learning_rate, weight_decay=run.spec.weight_decay, foreach=True
    )
    position = Position(0, 0, 0)
    held = latest_checkpoint(run.folder)
    if held is not None:
        position = restore(held, model, optimiser, run.origin.fingerprint)
    return Training(model, run.workers.wrap(model), optimiser, position)


def batches(run: Run, position: Position) -> Iterator[Batch]:
    epoch, start = position.epoch, position.step_in_epoch
    while True:
        yield from run.reader.epoch(epoch, start)
        epoch, start = epoch + 1, 0


def step(run: Run, training: Training, batch: Batch, steps: int) -> None:
    spec, workers, model = run.spec, run.workers, training.model.train()
    began = time.perf_counter()
    for group in training.optimiser.param_groups:
        group["lr"] = spec.learning_rate * warmup_cosine(training.position.step, steps, spec.warmup_share)
    with torch.autocast(workers.device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
        losses = losses_of(run, training, batch.to(workers.device))
    if spec.trace_every and training.position.step % spec.trace_every == 0:
        run.report(training.position.step, "gradient", gradient_trace(model, losses, run.origin.dataset, workers))
    total = (losses.sums / losses.counts.clamp(min=1e-12) * weights(spec, run.origin.dataset.tasks)).sum()
    training.optimiser.zero_grad(set_to_none=True)
    (total * workers.world).backward()  # DDP averages gradients over workers; the loss is a sum over them
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm)
    training.optimiser.step()
    advance(run, training)
    if training.position.step % spec.log_every == 0 or training.position.step == 1:
        _log(run, training, losses, {"gradient_norm": float(norm), "step_seconds": time.perf_counter() - began})


def weights(spec: TrainSpec, tasks: Any) -> Tensor:
    given = spec.task_weights or {}
    return torch.tensor([spec.retrieval_weight, *(given.get(task.name, 1.0) for task in tasks)])


def advance(run: Run, training: Training) -> None:
    step, epoch, within = training.position.step + 1, training.position.epoch, training.position.step_in_epoch + 1
    if within == run.reader.steps_per_epoch:
        epoch, within = epoch + 1, 0
    training.position = Position(step, epoch, within)


def after_step(run: Run, training: Training, steps: int) -> None:
    spec, at = run.spec, training.position.step
    if run.validation and ((spec.validate_every and at % spec.validate_every == 0) or at == steps):
        training.metrics = run.validation(training.model, run.catalogue, run.users, run.workers)
        run.report(at, "validation", training.metrics)
    if at % spec.checkpoint_every == 0 or at == steps:
        if run.workers.chief:
            state = RunState(training.model, training.optimiser, training.position, training.metrics)
            save_checkpoint(join_uri(run.folder, "checkpoints", f"step-{at:07d}"), state, run.origin)
            forget_old(run.folder, spec.keep_checkpoints)
        run.workers.wait()


def finish(run: Run, training: Training) -> None:
    training.model.eval()
    run.workers.wait()


def _log(run: Run, training: Training, losses: Losses, numbers: dict[str, float]) -> None:
    means = losses.means(run.workers)
    names = ["retrieval", *(task.name for task in run.origin.dataset.tasks)]
    numbers |= {f"loss.{name}": float(mean) for name, mean in zip(names, means, strict=True)}
    numbers["learning_rate"] = training.optimiser.param_groups[0]["lr"]
    run.report(training.position.step, "train", numbers)
