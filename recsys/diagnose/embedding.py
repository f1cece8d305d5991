"""The shape of a cloud of vectors: how large, how spread, in how many directions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.diagnose.diagnosis import Part
from recsys.value import require

SAMPLE = 2048  # vectors looked at: pairs grow with the square
COPY = 0.5  # a copy lies nearer than half the usual distance to the nearest neighbour


@dataclass(frozen=True)
class EmbeddingHealth(Part):
    """Item vectors as the tower makes them: before normalisation if the index normalises."""

    vectors: Tensor  # [N, D]
    labels: Tensor | None = None  # [N] classes under which training sees the items
    features: Tensor | None = None  # [N, F] what the items are encoded from


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers that tell apart the ways in which a space can be lost."""

    norm: float  # mean length
    spread: float  # mean distance of two vectors over the mean length: 1.41 for even directions, 0 for one point
    cosine: float  # mean cosine of two vectors
    rank: float  # effective rank (Roy & Vetterli 2007) of the centred vectors, as a share of D

    @classmethod
    def of(cls, vectors: Tensor) -> Shape:
        """Of vectors [N, D], N >= 2; an even sample of them where there are many."""
        require(vectors.ndim == 2 and len(vectors) >= 2, f"vectors must be [N, D], N >= 2, got {list(vectors.shape)}")
        held = vectors[:: -(-len(vectors) // SAMPLE)].double()
        norm = held.norm(dim=1).mean()
        unit = F.normalize(held, dim=1)
        pairs = len(held) * (len(held) - 1)
        cosine = (unit.sum(0).square().sum() - unit.square().sum()) / pairs
        spread = torch.pdist(held).mean() / norm.clamp(min=1e-30)
        return cls(float(norm), float(spread), float(cosine), effective_rank(held) / held.shape[1])


def effective_rank(vectors: Tensor) -> float:
    """exp of the entropy of the singular values' shares, of the centred vectors [N, D]; it doesn't see their scale."""
    values = torch.linalg.svdvals(vectors.double() - vectors.double().mean(0))
    share = values / values.sum().clamp(min=1e-300)
    return float(torch.special.entr(share).sum().exp())


def copies(features: Tensor, labels: Tensor) -> Tensor:
    """[N] bool: the items that have all but a copy under another label (false negatives of every miner).

    A copy is nearer than COPY times the median distance between an item and its nearest neighbour.
    """
    distance = torch.cdist(features, features).fill_diagonal_(torch.inf)
    usual = distance.amin(1).median()
    other = distance.masked_fill(labels[:, None] == labels, torch.inf)
    return other.amin(1) < COPY * usual
