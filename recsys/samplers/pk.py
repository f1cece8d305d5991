"""A batch has K items of each of P classes: every anchor meets a positive, which a random batch rarely holds."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value


@value
class PKSampler:
    """P classes, then K items of each (Hermans et al. 2017).

    A class gives at most what it has: no item stands twice in a batch. Classes of one item have no positive and are
    never drawn.
    """

    classes: int = 24
    items: int = 4

    def __post_init__(self) -> None:
        require(self.classes >= 2, f"classes must be at least 2, got {self.classes}: a batch needs a negative")
        require(self.items >= 2, f"items must be at least 2, got {self.items}: an anchor needs a positive")

    def __call__(self, labels: Tensor, step: int, seed: int) -> Tensor:
        """[b] rows of labels [N], b <= P * K. Raises ValueError where fewer than two classes have two items."""
        generator = torch_rng(seed, "batches", step)
        order = torch.randperm(len(labels), generator=generator)
        kinds, kind, counts = torch.unique(labels[order], return_inverse=True, return_counts=True)
        large = (counts >= 2).nonzero().squeeze(1)
        require(len(large) >= 2, f"{len(large)} of {len(kinds)} classes have two items or more; PK batches need two")
        chosen = torch.zeros(len(kinds), dtype=torch.bool)
        chosen[large[torch.randperm(len(large), generator=generator)[: self.classes]]] = True
        by_kind = kind.argsort(stable=True)
        place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[kind[by_kind]]  # within its class
        return order[by_kind[chosen[kind[by_kind]] & (place < self.items)]]
