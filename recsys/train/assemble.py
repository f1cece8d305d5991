"""From folders and specifications to a run that a worker can take part in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from recsys.artefact import fingerprint_of, opened
from recsys.data.catalogue import Catalogue, UserTable
from recsys.data.plan import Plan
from recsys.data.reader import BatchReader, Fetch, direct, read_all
from recsys.data.spec import DatasetSpec
from recsys.model import ModelSpec
from recsys.train.checkpoint import Origin
from recsys.train.loop import Report, Run, Training, fit
from recsys.train.objective import Objective
from recsys.train.observe import REQUESTS, Observer
from recsys.train.spec import TrainSpec
from recsys.train.validate import Validation
from recsys.train.workers import Workers

READERS = 6  # threads that read for a GPU: one reads some 60,000 requests a second


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What to train, on which data, and where to put it; pickles to any worker."""

    dataset: str  # URI of the dataset artefact
    folder: str  # URI of training/
    model: ModelSpec
    train: TrainSpec
    fetch: Callable[[str], Fetch] | None = None  # given the dataset's URI: another way to read than by this process

    @property
    def fingerprint(self) -> str:
        held = opened(self.dataset, "dataset", verify=False)
        return fingerprint_of("checkpoint", held.fingerprint, self.model, self.train)


def assemble(plan: TrainingPlan, device: torch.device | str, report: Report) -> Run:
    """Open the dataset and put a worker's run together."""
    dataset = opened(plan.dataset, "dataset", verify=False)
    spec = DatasetSpec.from_json(dataset.meta["spec"])
    workers = Workers.current(device)
    batches = Plan.of(
        dataset.path, "train", lanes=spec.lanes, batch_size=plan.train.batch_size, seed=plan.train.seed, shuffle=True
    )
    share = (workers.rank, workers.world)
    threads = READERS if workers.device.type == "cuda" else 1  # on a CPU training needs the cores
    fetch = plan.fetch(plan.dataset) if plan.fetch else direct(dataset.path, threads)
    reader = BatchReader(dataset.path, "train", spec, batches, share=share, fetch=fetch)
    catalogue = Catalogue.load(dataset.path, spec, plan.model.item.id_buckets, plan.model.item.num_hashes)
    users = UserTable.load(dataset.path, spec, plan.model.user.user_buckets)
    validation = read_all(dataset.path, "validation_users", spec, plan.train.validation_users)
    observed = plan.train.evidence and workers.chief
    return Run(
        objective=Objective(plan.train, spec, catalogue.to(workers.device), users.to(workers.device), workers),
        origin=Origin(dataset.path, spec, plan.model, plan.train, plan.fingerprint),
        folder=plan.folder,
        reader=reader,
        report=report if workers.chief else _silent,
        validation=Validation(validation) if len(validation) else None,
        observer=Observer(read_all(dataset.path, "validation", spec, REQUESTS), spec) if observed else None,
    )


def train(plan: TrainingPlan, device: torch.device | str, report: Report) -> Training:
    """Take part in the run in this process."""
    return fit(assemble(plan, device, report))


def _silent(step: int, kind: str, numbers: dict[str, float]) -> None:
    """Only the first worker keeps the log."""
