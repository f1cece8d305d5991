"""One softmax a level, of those levels that a label speaks of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.taxonomy import Taxonomy
from recsys.value import value


@value
class MaskedLevelCE:
    """Cross entropy of each level down to the one named, summed; levels below it are left out.

    Levels are predicted apart, so that nothing keeps them on one path.
    """

    taxonomy: Taxonomy

    def __call__(self, output: Tensor, level: Tensor, place: Tensor) -> Tensor:
        """[B] losses of nodes' logits [B, nodes]; labels are topics (level [B], place [B])."""
        named = ancestors(self.taxonomy, level, place)  # [B, depth]
        return torch.stack(
            [
                F.cross_entropy(logits, named[:, depth], reduction="none", ignore_index=-1)
                for depth, logits in enumerate(self.taxonomy.levels(output))
            ]
        ).sum(0)

    def levels(self, output: Tensor) -> tuple[Tensor, ...]:
        """Chances [B, width] of the topics of each level."""
        return tuple(logits.softmax(1) for logits in self.taxonomy.levels(output))


def ancestors(taxonomy: Taxonomy, level: Tensor, place: Tensor) -> Tensor:
    """[B, depth] places of a topic and of all that it lies in, -1 at the levels below it."""
    node = torch.tensor(taxonomy.starts)[level] + place
    some_leaf = taxonomy.inside[node].int().argmax(1)
    below = torch.arange(taxonomy.depth) > level[:, None]
    return taxonomy.paths[some_leaf].masked_fill(below, -1)
