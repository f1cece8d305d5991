"""Ranking rows of a request log as the trained model scores them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.data.catalogue import UserTable
from recsys.data.plan import Plan
from recsys.data.reader import BatchReader
from recsys.data.spec import DatasetSpec
from recsys.evaluate.classification import log_loss, reliability
from recsys.evaluate.compare import Bootstrap, Interval, auc_intervals
from recsys.model import Recommender

BATCH = 256


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Rows with their labels, what the model says of each task, and the features that baselines score by."""

    user: np.ndarray  # [R]
    labels: np.ndarray  # [R, T], NaN without an answer
    scores: np.ndarray  # [R, T], probabilities of binary tasks
    features: np.ndarray  # [R, F]
    weight: np.ndarray  # [R]


@torch.inference_mode()
def score_rows(
    model: Recommender, hidden: np.ndarray, users: UserTable, dataset: tuple[Path, DatasetSpec], log: str
) -> ScoredRows:
    """Score every row of a request log; hidden [V, H] are the items' encodings of the same checkpoint."""
    folder, spec = dataset
    plan = Plan.of(folder, log, lanes=spec.lanes, batch_size=BATCH, seed=0, shuffle=False)
    states = torch.from_numpy(hidden)
    binary = torch.tensor([task.kind == "binary" for task in spec.tasks])
    parts = []
    for batch in BatchReader(folder, log, spec, plan).epoch(0):
        state = model.users(states[batch.history.values], batch, users.take(batch.user))
        row = batch.rows.row
        logits = model.rank(state[row], states[batch.rows.values], batch.row_context, batch.row_features)
        scores = torch.where(binary, logits.sigmoid(), logits)
        parts.append([batch.user[row], batch.labels, scores, batch.row_features, batch.row_weight])
    columns = [torch.cat(column).numpy() for column in zip(*parts, strict=True)]
    return ScoredRows(*columns)


def task_facts(rows: ScoredRows, spec: DatasetSpec, bootstrap: Bootstrap) -> dict[str, dict[str, Any]]:
    """Per binary task: AUC of the model, of popularity and of the user's own frequency, log loss and calibration."""
    places = {"popular": spec.features.index("item_count_28d"), "own_frequency": spec.features.index("pair_count")}
    facts = {}
    for place, task in enumerate(spec.tasks):
        known = ~np.isnan(rows.labels[:, place])
        labels = rows.labels[known, place]
        if task.kind != "binary" or len(np.unique(labels)) < 2:
            continue
        scores = [rows.scores[known, place], *(rows.features[known, column] for column in places.values())]
        found = auc_intervals(labels, np.stack(scores, 1), rows.user[known], bootstrap, rows.weight[known])
        bins = reliability(labels, rows.scores[known, place], rows.weight[known])
        facts[task.name] = {
            "auc": {name: estimate(held) for name, held in zip(["model", *places], found, strict=True)},
            "rows": int(known.sum()),
            "positives": int(labels.sum()),
            "log_loss": log_loss(labels, rows.scores[known, place], rows.weight[known]),
            "calibration_error": bins.expected_error,
            "reliability": {name: getattr(bins, name).tolist() for name in ("predicted", "observed", "weight")},
        }
    return facts


def estimate(held: Interval) -> dict[str, float | int]:
    return {"mean": held.mean, "low": held.low, "high": held.high, "users": held.users}
