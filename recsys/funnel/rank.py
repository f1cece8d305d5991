"""Every candidate of a batch is scored for every task in one pass; what the scores are worth, the request says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys.data.spec import UNKNOWN, Task
from recsys.funnel.request import Asked
from recsys.funnel.retrieve import Pairs
from recsys.model import Recommender


@dataclass(frozen=True, slots=True)
class Ranker:
    """Scores per task: probabilities for binary tasks, values in the label's unit for regressions."""

    model: Recommender
    hidden: Tensor  # [V, H], encodings of all items
    tasks: tuple[Task, ...]

    def __call__(self, user: Tensor, pairs: Pairs, features: np.ndarray) -> np.ndarray:
        """[R, T] float32 from user encodings [B, H] and features [R, F].

        A candidate hasn't been shown yet, so surface and position of its row are unknown, as they were for the
        candidates in training; the surface of the request reaches the score through the user encoding.
        """
        row, item = torch.from_numpy(pairs.row), torch.from_numpy(pairs.item)
        shown = torch.full((len(pairs.item), 2), UNKNOWN, dtype=torch.int64)
        raw = self.model.rank(user[row], self.hidden[item], shown, torch.from_numpy(features)).float()
        binary = torch.tensor([task.kind == "binary" for task in self.tasks])
        return torch.where(binary, raw.sigmoid(), raw).numpy()


@dataclass(frozen=True, slots=True)
class Lists:
    """Candidates of each request side by side, best first; places beyond a request's candidates are not valid."""

    item: np.ndarray  # [B, N] int64
    score: np.ndarray  # [B, N] float64
    task_scores: np.ndarray  # [B, N, T] float32
    valid: np.ndarray  # [B, N] bool

    def reordered(self, places: np.ndarray) -> Lists:
        fields = (self.item, self.score, self.valid)
        item, score, valid = (np.take_along_axis(held, places, axis=1) for held in fields)
        return Lists(item, score, np.take_along_axis(self.task_scores, places[..., None], axis=1), valid)


def fuse(asked: Asked, pairs: Pairs, task_scores: np.ndarray) -> Lists:
    """Lists by the weighted sum of the task scores, ties by item index."""
    fused = np.einsum("rt,rt->r", task_scores.astype(np.float64), asked.weights[pairs.row])
    order = np.lexsort((pairs.item, -fused, pairs.row))
    counts = pairs.counts(len(asked))
    shape = (len(asked), int(counts.max(initial=0)))
    row = pairs.row[order]
    column = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
    item, score = np.zeros(shape, dtype=np.int64), np.full(shape, -np.inf)
    tasks, valid = np.full((*shape, task_scores.shape[1]), np.nan, dtype=np.float32), np.zeros(shape, dtype=bool)
    item[row, column], score[row, column] = pairs.item[order], fused[order]
    tasks[row, column], valid[row, column] = task_scores[order], True
    return Lists(item, score, tasks, valid)
