"""Gradient norms per task and cosines per task pair: what the tasks want of the encoders that they share."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from recsys.data.spec import DatasetSpec
from recsys.model import Recommender
from recsys.train.objective import Losses
from recsys.train.workers import Workers


def gradient_trace(model: Recommender, losses: Losses, dataset: DatasetSpec, workers: Workers) -> dict[str, float]:
    """`norm.<task>` and `cosine.<a>.<b>` over the parameters of the shared encoders, of the global batch.

    Every worker must call it, since the pool's backward crosses workers.
    """
    shared = [*model.item_encoder.parameters(), *model.user_encoder.parameters()]
    names = ["retrieval", *(task.name for task in dataset.tasks)]
    means = losses.sums / losses.counts.clamp(min=1e-12)
    rows: dict[str, Tensor] = {}
    for name, mean, count in zip(names, means, losses.counts, strict=True):
        if count > 0:  # the same on every worker, so that collectives stay in step
            rows[name] = workers.total(_flat_gradient(mean, shared))
    norms = {name: float(row.norm()) for name, row in rows.items()}
    trace = {f"norm.{name}": norm for name, norm in norms.items()}
    for a, b in combinations(rows, 2):
        trace[f"cosine.{a}.{b}"] = float(rows[a] @ rows[b]) / max(norms[a] * norms[b], 1e-12)
    return trace


def _flat_gradient(loss: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor:
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    return torch.cat([g.flatten() for g in flat])
