"""What lies in a topic lies in everything above it: a topic's score is the highest of all that lie in it."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.taxonomy import Taxonomy
from recsys.value import value


@value
class MaxConstraint:
    """Coherent by construction: no topic scores below one inside it, so that chances only fall on the way down.

    The layer MCM of C-HMCNN, in front of which scores are free (Giunchiglia and Lukasiewicz, 2020). As it has no weights, any
    head that scores every topic can carry it.
    """

    taxonomy: Taxonomy

    def __call__(self, scores: Tensor, counted: Tensor | None = None) -> Tensor:
        """[B, nodes] the largest of each topic's own score and of those inside it; `counted` [B, nodes] leaves out others.

        A topic in which nothing counts is -inf. Among equal ones the gradient is shared.
        """
        held = scores if counted is None else scores.masked_fill(~counted, -torch.inf)
        levels = list(self.taxonomy.levels(held))
        for level in range(self.taxonomy.depth - 1, 0, -1):
            above = torch.tensor(self.taxonomy.parents[level], device=scores.device).expand_as(levels[level])
            levels[level - 1] = levels[level - 1].scatter_reduce(1, above, levels[level], "amax")
        return torch.cat(levels, 1)
