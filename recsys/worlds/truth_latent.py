"""What only the simulator knows of things with latent factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class ClassTruth(Truth):
    """The class that an item is of, whatever it is listed as, and what a class looks like without noise."""

    classes: Tensor  # [N] int64
    means: Tensor  # [C, F]
    precision: Tensor  # [F, F] inverse covariance of an item around the mean of its class

    def posterior(self, features: Tensor) -> Tensor:
        """[N, C] probabilities of the classes given an item's features: two items' dot product is the chance of a match."""
        root = torch.linalg.cholesky(self.precision.double())
        square = torch.cdist(features.double() @ root, self.means.double() @ root).square()
        return (-square / 2).softmax(1).float()


@dataclass(frozen=True)
class SearchTruth(Truth):
    """What a shown item is worth to a query, in logits of a click."""

    utility: Tensor  # [Q, I]

    def grades(self, rows: Tensor, shares: tuple[float, ...] = (0.005, 0.02, 0.05)) -> Tensor:
        """[q, I] grades of the queries [Q] bool: 3, 2, 1 for these shares of the catalogue that suit each best, else 0."""
        held = self.utility[rows]
        counts = [max(1, round(share * held.shape[1])) for share in shares]
        best = held.topk(max(counts), dim=1).values
        return torch.stack([held >= best[:, count - 1 : count] for count in counts]).sum(0)
