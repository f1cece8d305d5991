"""How far down the tree a prediction is right, whether its levels agree, and when to stop higher up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recsys.taxonomy import Taxonomy
from recsys.value import require, value


def inconsistent(taxonomy: Taxonomy, places: Tensor) -> Tensor:
    """[N] whether predicted places [N, depth] lie on no one path."""
    off = torch.zeros(len(places), dtype=torch.bool)
    for level, parents in enumerate(taxonomy.parents[1:], 1):
        off |= torch.tensor(parents)[places[:, level]] != places[:, level - 1]
    return off


def incoherence(taxonomy: Taxonomy, levels: Sequence[Tensor]) -> Tensor:
    """[N] total difference between the chances of topics and the sums of their children's, over all levels."""
    gaps = torch.zeros(len(levels[0]), dtype=levels[0].dtype)
    for (above, below), parents in zip(zip(levels, levels[1:], strict=False), taxonomy.parents[1:], strict=True):
        summed = torch.zeros_like(above).index_add(1, torch.tensor(parents), below)
        gaps += (above - summed).abs().sum(1)
    return gaps


def best_path(taxonomy: Taxonomy, levels: Sequence[Tensor]) -> Tensor:
    """[N, depth] the path whose topics' chances multiply to the most."""
    total = sum(held.clamp(min=1e-12).log()[:, taxonomy.paths[:, level]] for level, held in enumerate(levels))
    assert isinstance(total, Tensor)
    return taxonomy.paths[total.argmax(1)]


@value
class Backoff:
    """The deepest topic on the best path of which the chance is still enough; the broadest where none is."""

    threshold: float = 0.5

    def __post_init__(self) -> None:
        require(0 <= self.threshold <= 1, f"threshold must lie in [0, 1], got {self.threshold}")

    def __call__(self, levels: Sequence[Tensor], places: Tensor) -> Tensor:
        """[N] levels at which to stop, of chances [N, width] a level and predicted places [N, depth]."""
        chance = torch.stack([held.gather(1, places[:, i : i + 1])[:, 0] for i, held in enumerate(levels)], 1)
        enough = (chance >= self.threshold).int().cumprod(1).sum(1)
        return (enough - 1).clamp(min=0)
