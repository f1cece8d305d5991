"""Losses of the ranking tasks: each over the rows that have an answer to its question."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.spec import Task


def task_losses(tasks: tuple[Task, ...], logits: Tensor, labels: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums of the losses [T], with gradient, and the sums of the weights of the rows with a label [T].

    Sums over counts are weighted means; a task without labelled rows has sum 0 and count 0. Binary tasks have the
    cross entropy of the logit, regression tasks Huber's loss (1964) with threshold 1. Logits and labels are [R, T],
    labels NaN where unknown, weight [R].
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
    return (losses * weights).sum(0), weights.sum(0)
