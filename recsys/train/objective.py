"""What a step minimises: the retrieval loss and one loss per ranking task, each averaged over the global count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.batch import Batch
from recsys.candidates import Candidates, concat, gather
from recsys.data.catalogue import Catalogue
from recsys.data.spec import DatasetSpec
from recsys.losses.tasks import task_losses
from recsys.model import Encoded, Recommender
from recsys.random import torch_rng
from recsys.train.spec import TrainSpec
from recsys.train.workers import Workers


@dataclass(frozen=True, slots=True)
class Offered:
    """The candidates of a step: ids of the positives of all workers, of the extra items, and log_q of both."""

    positives: Tensor  # [P] this worker's
    extra: Tensor  # [E] the same on every worker
    log_q: Tensor  # [P_global + E]
    start: int  # place of this worker's first positive among all workers'


@dataclass(frozen=True, slots=True)
class Losses:
    """This worker's sum of each loss and the count over all workers; retrieval first, then the tasks in order."""

    sums: Tensor  # [1 + T], with gradient
    counts: Tensor  # [1 + T], global

    def means(self, workers: Workers) -> Tensor:
        """The global mean of each loss, for the log."""
        return workers.total(self.sums) / self.counts.clamp(min=1e-12)


def offer(spec: TrainSpec, batch: Batch, log_p: Tensor, step: int, workers: Workers) -> Offered:
    """Ask the source what to put beside the positives; every worker gets the same extra items."""
    positives = batch.positives.values
    everyone, start = workers.all_ids(positives)
    offered = spec.source(everyone, log_p, torch_rng(spec.seed, "negatives", step))
    extra = offered.items[everyone.shape[0] :]
    return Offered(positives, extra, offered.log_q, start)
