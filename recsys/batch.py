"""A batch is a set of requests, each with the history before it and what happened after it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Jagged:
    """Rows of different lengths without padding: row i is values[offsets[i]:offsets[i + 1]]."""

    values: Tensor  # [n, ...]
    offsets: Tensor  # [B + 1] int64

    def __len__(self) -> int:
        return self.offsets.shape[0] - 1

    @property
    def lengths(self) -> Tensor:
        return self.offsets.diff()  # [B]

    @property
    def row(self) -> Tensor:
        """The row that each value belongs to, [n]."""
        return torch.repeat_interleave(torch.arange(len(self), device=self.offsets.device), self.lengths)

    def with_values(self, values: Tensor) -> Self:
        return replace(self, values=values)

    def padded(self, fill: float = 0) -> tuple[Tensor, Tensor]:
        """Values as [B, L, ...] filled at the end, and the mask [B, L] of real entries; L is at least 1."""
        lengths = self.lengths
        width = max(1, int(lengths.max())) if len(self) else 1
        place = torch.arange(width, device=lengths.device)
        mask = place < lengths[:, None]
        dense = self.values.new_full((len(self), width, *self.values.shape[1:]), fill)
        dense[mask] = self.values
        return dense, mask


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one step: who asked when, what they had done before, what they took, what was shown to them.

    Items, users and categories are vocabulary indices: 0 is padding, 1 is unknown. Times are seconds since 1970, ages days.
    """

    request: Tensor  # [B] int64, the row's identity in its request log
    user: Tensor  # [B] int64
    time: Tensor  # [B] int64
    context: Tensor  # [B, C] int64, columns as DatasetSpec.context
    history: Jagged  # item indices, oldest first, strictly before time
    history_age: Tensor  # [n_history] float32, days before the request
    positives: Jagged  # item indices taken in the horizon after the request
    rows: Jagged  # item indices to rank: impressions, sampled candidates, positives
    row_context: Tensor  # [R, 2] int64: surface, position
    row_features: Tensor  # [R, F] float32, columns as DatasetSpec.features
    labels: Tensor  # [R, T] float32, columns as DatasetSpec.tasks; NaN where the task has no label
    row_weight: Tensor  # [R] float32, inverse of the probability that the row was kept

    def __len__(self) -> int:
        return self.user.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        moved = {}
        for field in fields(self):
            held = getattr(self, field.name)
            if isinstance(held, Jagged):
                moved[field.name] = Jagged(
                    held.values.to(device, non_blocking=True), held.offsets.to(device, non_blocking=True)
                )
            else:
                moved[field.name] = held.to(device, non_blocking=True)
        return Batch(**moved)
