"""Softmax over a labelled batch: another item of the anchor's class against all items of other classes."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.candidates import Candidates
from recsys.losses.softmax import SampledSoftmax
from recsys.random import torch_rng
from recsys.value import require, value


@value
class ClassInfoNCE:
    """The sampled softmax with one positive drawn for each anchor; the rest of its class is masked (van den Oord 2018)."""

    temperature: float = 0.1

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature must be positive, got {self.temperature}")

    def __call__(self, vectors: Tensor, labels: Tensor, step: int) -> Tensor:
        """[B] losses of vectors [B, D], labels [B]; 0 where an anchor has no positive."""
        same = (labels[:, None] == labels).fill_diagonal_(False)
        keys = torch.rand(same.shape, generator=torch_rng(step, "positive")).masked_fill(~same, -1)
        pool = Candidates(vectors, labels, vectors.new_zeros(len(labels)))
        losses = SampledSoftmax(corrected=False)(vectors / self.temperature, pool, keys.argmax(1))
        return torch.where(same.any(1), losses, 0 * losses)
