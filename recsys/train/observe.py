"""What training writes down for the doctor: how well every task does on fixed rows, the vectors' shape, who was shown what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.stats import spearmanr

from recsys.batch import Batch
from recsys.data.spec import DatasetSpec
from recsys.diagnose.embedding import Shape
from recsys.diagnose.tasks import difference_noise
from recsys.evaluate.classification import auc
from recsys.model import Encoded, Recommender
from recsys.train.objective import Losses, Objective

REQUESTS = 150  # of the validation log that every check looks at
SAMPLE = 512  # item vectors of a batch: pairs grow with the square
CHECKS = 8  # of a run, unless validate_every says otherwise
APART = 75  # steps between two checks of a short run: closer, and they would cost more than a twentieth of the steps
RETRIEVAL = "retrieval"

Measure = Callable[[np.ndarray, np.ndarray], float]


def steps_between(steps: int, validate_every: int) -> int:
    """Steps from one check to the next in a run of that many."""
    return validate_every or max(APART, steps // CHECKS)


@dataclass(slots=True)
class Observer:
    """Kept by the first worker; its numbers go to the metrics file under the kinds "evidence" and "quality"."""

    batch: Batch  # fixed validation requests with their ranking rows
    spec: DatasetSpec
    seen: dict[str, list[np.ndarray]] = field(default_factory=dict)  # task -> predictions of each check
    labels: dict[str, np.ndarray] = field(default_factory=dict)

    def traced(self, losses: Losses, batch: Batch) -> dict[str, float]:
        """embedding.*: shape of this worker's item vectors; label.*, rows.*: mean and count; exposure.*: shares."""
        shape = Shape.of(losses.vectors[:SAMPLE].float())
        numbers = {f"embedding.{name}": getattr(shape, name) for name in ("norm", "spread", "cosine", "rank")}
        for t, task in enumerate(self.spec.tasks):
            known = ~batch.labels[:, t].isnan()
            numbers[f"rows.{task.name}"] = float(known.sum())
            if known.any():
                numbers[f"label.{task.name}"] = float(batch.labels[known, t].mean())
        for column, name in enumerate(("surface", "position")):
            share = torch.bincount(batch.row_context[:, column]).double() / max(1, len(batch.row_context))
            numbers |= {f"exposure.{name}.{i}": float(held) for i, held in enumerate(share) if held > 0}
        return numbers

    @torch.no_grad()
    def checked(self, model: Recommender, objective: Objective) -> dict[str, float]:
        """quality.<task>: AUC of binary tasks, rank correlation of others; of retrieval the share of items ranked lower."""
        model.eval()
        none = self.batch.rows.values.new_zeros(0)
        batch = self.batch.to(objective.workers.device)
        encoded = model(batch, objective.catalogue, objective.users, none.to(objective.workers.device))
        model.train()
        self._keep(RETRIEVAL, np.ones(len(encoded.positive_places)), _ranked_lower(encoded, batch))
        for t, task in enumerate(self.spec.tasks):
            labels = batch.labels[:, t].cpu().numpy()
            known = ~np.isnan(labels)
            self._keep(task.name, labels[known], encoded.rank_logits[:, t].cpu().numpy()[known])
        return {f"quality.{name}": self.measure(name)(self.labels[name], held[-1]) for name, held in self.seen.items()}

    def ended(self) -> dict[str, float]:
        """noise.<task>: the deviation of one check's quality from the next's that resampling the rows would give."""
        return {
            f"noise.{name}": difference_noise(self.measure(name), self.labels[name], np.stack(held))
            for name, held in self.seen.items()
            if len(held) > 1
        }

    def measure(self, name: str) -> Measure:
        if name == RETRIEVAL:
            return lambda _, predicted: float(predicted.mean())
        kinds = {task.name: task.kind for task in self.spec.tasks}
        return auc if kinds[name] == "binary" else _rank_correlation

    def _keep(self, name: str, labels: np.ndarray, predicted: np.ndarray) -> None:
        if len(labels):
            self.labels[name] = labels
            self.seen.setdefault(name, []).append(predicted)


def _ranked_lower(encoded: Encoded, batch: Batch) -> np.ndarray:
    """[P] of each positive, the share of the batch's distinct items that its request scores lower."""
    scores, row = encoded.query @ encoded.vectors.T, batch.positives.row  # [B, n], [P]
    own = scores[row, encoded.positive_places]
    parts = [(scores[r] < o[:, None]).float().mean(1) for r, o in zip(row.split(256), own.split(256), strict=True)]
    return torch.cat(parts).cpu().numpy() if parts else np.zeros(0)


def _rank_correlation(labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(spearmanr(labels, predicted)[0])  # type: ignore[arg-type]
