"""The positive against negatives that belong to one query, such as those that were mined for it."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.value import require, value


@value
class OwnNegatives:
    """Softmax over the positive and the query's own negatives (Xiong et al. 2021).

    Alone, it never compares the query with anything far away, and a mined negative is often an unlabelled positive
    (Huang et al. 2020): mix it with a loss over random items.
    """

    temperature: float = 0.1

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature must be positive, got {self.temperature}")

    def __call__(self, query: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
        """[B] losses of query and positive [B, D], negatives [B, H, D]."""
        wanted = (query * positive).sum(1, keepdim=True)
        rivals = torch.einsum("bd,bhd->bh", query, negatives)
        return -(torch.cat([wanted, rivals], dim=1) / self.temperature).log_softmax(1)[:, 0]
