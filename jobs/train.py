"""Train the model on Ray Train (or in this process with cluster=local0) and publish its last checkpoint."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from tqdm import tqdm

from jobs.data import prepared
from jobs.settings import Settings, job
from jobs.stages import Stages
from recsys.artefact import Artefact, committing, file_sha256, fingerprint_of, join_uri, opened, remove
from recsys.cluster.data import ray_fetch
from recsys.cluster.start import connected
from recsys.cluster.train import train_on
from recsys.tracking.log import read_records
from recsys.tracking.run import Run, start_run
from recsys.tracking.wandb import TrackingSpec
from recsys.train.assemble import TrainingPlan, assemble, train
from recsys.train.retention import latest_checkpoint


def trained(stages: Stages, dataset: Artefact) -> Artefact:
    """run_dir/checkpoint: the last checkpoint of the run, published under a fingerprint of its weights."""
    settings = stages.settings
    plan = TrainingPlan(
        dataset=stages.uri("dataset"),
        folder=stages.uri("training"),
        model=settings.model,
        train=settings.train,
        fetch=ray_fetch if settings.cluster.reader == "ray" and settings.cluster.workers else None,
    )

    def make(uri: str) -> None:
        if settings.fresh:
            remove(plan.folder)
        with connected(settings.cluster) if settings.cluster.workers else _nothing(), progress(stages, plan):
            _run(settings, plan)
        publish(plan, uri)

    return stages.reach("checkpoint", "checkpoint", plan.fingerprint, make)


def _run(settings: Settings, plan: TrainingPlan) -> None:
    told = Told(settings.tracking, settings.identity, settings.plain, settings.run_dir)
    if settings.cluster.workers == 0:
        work(plan, told, torch.device("cpu"))
        return
    name = f"{settings.identity}-{uuid.uuid4().hex[:8]}"  # Ray Train would silently resume a run of the same name
    train_on(settings.cluster, partial(work, plan, told), name=name, storage=join_uri(plan.folder, "ray"))


class Told:
    """What a worker needs to log the run; pickles."""

    def __init__(self, tracking: TrackingSpec, run_id: str, config: dict[str, Any], run_dir: str) -> None:
        self.tracking, self.run_id, self.config, self.run_dir = tracking, run_id, config, run_dir

    @contextmanager
    def start(self, job: str) -> Iterator[Run]:
        with start_run(self.tracking, job=job, run_id=self.run_id, config=self.config, dir=self.run_dir) as run:
            yield run


def work(plan: TrainingPlan, told: Told, device: torch.device) -> dict[str, Any]:
    """What every worker does; the first one keeps the log."""
    if torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return train(plan, device, lambda step, kind, numbers: None).metrics
    with told.start("train") as run:
        metrics = train(plan, device, lambda step, kind, numbers: run.log(step, numbers, kind)).metrics
        run.summary(metrics)
    return metrics


def publish(plan: TrainingPlan, uri: str) -> None:
    """Copy the last checkpoint to run_dir/checkpoint; its fingerprint is that of the weights, so an index can name it."""
    last = latest_checkpoint(plan.folder)
    assert last is not None, "training ended without a checkpoint"
    held = opened(last, "checkpoint")
    fingerprint = fingerprint_of(plan.fingerprint, file_sha256(held.path / "model.safetensors"))
    meta = {**held.meta, "made_from": plan.fingerprint}
    with committing(uri, "checkpoint", fingerprint=fingerprint, meta=meta) as folder:
        for name in held.manifest["files"]:
            shutil.copyfile(held.path / name, folder / name)


@contextmanager
def progress(stages: Stages, plan: TrainingPlan) -> Iterator[None]:
    """A bar that follows the metrics file, wherever the workers are."""
    total = _steps(plan)
    stop = threading.Event()
    bar = tqdm(total=total, unit="step", desc="training", mininterval=1.0)

    def follow() -> None:
        while not stop.wait(1.0):
            _show(bar, join_uri(stages.settings.run_dir, "metrics.jsonl"))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        _show(bar, join_uri(stages.settings.run_dir, "metrics.jsonl"))
        bar.close()


def _steps(plan: TrainingPlan) -> int:
    return assemble(plan, "cpu", lambda *_: None).steps


def _show(bar: tqdm, path: str) -> None:
    records = [record for record in read_records(path) if record.get("kind") == "train"]
    if records:
        last = records[-1]
        bar.n = min(int(last["step"]), bar.total)
        losses = {
            name.removeprefix("loss."): f"{value:.3f}" for name, value in last.items() if name.startswith("loss.")
        }
        bar.set_postfix(losses)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@job
def main(settings: Settings) -> None:
    stages = Stages(settings)
    trained(stages, prepared(stages))


if __name__ == "__main__":
    main()
