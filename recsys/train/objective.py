"""What a step minimises: the retrieval loss and one loss per ranking task, each averaged over the global count."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recsys.batch import Batch
from recsys.candidates import Candidates, concat, gather
from recsys.data.catalogue import Catalogue, UserTable
from recsys.data.spec import DatasetSpec
from recsys.losses.tasks import task_losses
from recsys.model import Encoded, Recommender
from recsys.random import torch_rng
from recsys.train.choose import sample_jagged
from recsys.train.spec import TrainSpec
from recsys.train.workers import Workers


@dataclass(frozen=True, slots=True)
class Losses:
    """This worker's sum of each loss and the count over all workers; retrieval first, then the tasks in order."""

    sums: Tensor  # [1 + T], with gradient
    counts: Tensor  # [1 + T], global
    vectors: Tensor  # [n, D] of this worker's distinct items, without gradient

    def weighted(self, weights: Tensor) -> Tensor:
        """This worker's part of the weighted sum of the global means."""
        return (self.sums / self.counts.clamp(min=1e-12) * weights.to(self.sums)).sum()

    def means(self, workers: Workers) -> Tensor:
        """The global mean of each loss, for the log."""
        return workers.total(self.sums) / self.counts.clamp(min=1e-12)


@dataclass(frozen=True, slots=True)
class Objective:
    """The losses of a batch, the same for any number of workers."""

    spec: TrainSpec
    dataset: DatasetSpec
    catalogue: Catalogue
    users: UserTable
    workers: Workers

    def __call__(self, model: Recommender, wrapped: Any, batch: Batch, at: tuple[int, int]) -> Losses:
        """Losses at (step, epoch); `wrapped` is the model as DDP wraps it."""
        step, epoch = at
        chosen = sample_jagged(batch.positives, batch.request, self.spec.positives_per_request, self.spec.seed + epoch)
        batch = replace(batch, positives=chosen)
        everyone, _ = self.workers.all_ids(chosen.values)
        offer = self.spec.source(everyone, self.catalogue.log_p, torch_rng(self.spec.seed, "negatives", step))
        extra, log_q = offer.items[len(everyone) :], offer.log_q
        encoded = wrapped(batch, self.catalogue, self.users, extra)
        pool, target = self._pool(encoded, chosen.values, extra, log_q)
        query = encoded.query[chosen.row] / model.temperature
        retrieval = self.spec.loss(query, pool, target).sum()
        sums, counts = task_losses(self.dataset.tasks, encoded.rank_logits, batch.labels, batch.row_weight)
        local = torch.cat([counts.new_tensor([len(target)]), counts])
        return Losses(torch.cat([retrieval[None], sums]), self.workers.total(local), encoded.vectors.detach())

    def _pool(self, encoded: Encoded, positives: Tensor, extra: Tensor, log_q: Tensor) -> tuple[Candidates, Tensor]:
        """All workers' positives, then the extra items, which every worker encodes for its own rows."""
        own = Candidates(
            encoded.vectors[encoded.positive_places], positives, torch.zeros_like(positives, dtype=log_q.dtype)
        )
        pool, target = gather(own, torch.arange(len(positives), device=positives.device))
        if len(extra):
            pool = concat(pool, Candidates(encoded.vectors[encoded.extra_places], extra, log_q[-len(extra) :]))
        return replace(pool, log_q=log_q), target


def task_weights(spec: TrainSpec, dataset: DatasetSpec) -> Tensor:
    """[1 + T]: of retrieval, then of the tasks. Raises ValueError for a task that the dataset doesn't have."""
    given = dict(spec.task_weights or {})
    weights = [spec.retrieval_weight, *(given.pop(task.name, 1.0) for task in dataset.tasks)]
    if given:
        names = [task.name for task in dataset.tasks]
        raise ValueError(f"train.task_weights names {sorted(given)}, but the tasks of {dataset.name} are {names}")
    return torch.tensor(weights)
