"""Losses of the ranking tasks: each over the rows that have an answer to its question."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.spec import Task


def task_losses(tasks: tuple[Task, ...], logits: Tensor, labels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums of the losses [T], with gradient, and the numbers of rows with a label [T].

    Sums are divided by rows, not by weights: a row that stands for thousands would otherwise leave the sampled rows'
    task with a gradient thousands of times smaller than the others'. A task without labelled rows has sum and count 0.
    Binary tasks have the cross entropy of the logit, regression tasks Huber's loss (1964) with threshold 1. Logits and
    labels are [R, T], labels NaN where unknown, weight [R].
    """
    known = ~labels.isnan()
    answers = labels.masked_fill(~known, 0).to(logits.dtype)
    weights = known * weight[:, None]  # [R, T]
    binary = torch.tensor([task.kind == "binary" for task in tasks], device=logits.device)
    losses = torch.where(
        binary,
        F.binary_cross_entropy_with_logits(logits, answers, reduction="none"),
        F.huber_loss(logits, answers, reduction="none"),
    )
    return (losses * weights).sum(0), known.sum(0).to(weights.dtype)
