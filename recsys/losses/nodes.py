"""A yes-or-no question for every topic, of those that a label answers."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.heads.constraint import MaxConstraint
from recsys.taxonomy import Taxonomy
from recsys.value import value


@value
class MaskedNodeBCE:
    """Binary cross entropies summed over the topics of which the label says whether they are true.

    True are the topic named and all that it lies in; false are those beside the path; unknown those inside it.
    """

    taxonomy: Taxonomy

    def __call__(self, output: Tensor, level: Tensor, place: Tensor) -> Tensor:
        """[B] losses of nodes' logits [B, nodes]; labels are topics (level [B], place [B])."""
        answers = self.answers(level, place)
        known = ~answers.isnan()
        losses = F.binary_cross_entropy_with_logits(output, answers.nan_to_num(), reduction="none")
        return (losses * known).sum(1)

    def answers(self, level: Tensor, place: Tensor) -> Tensor:
        """[B, nodes] 1 for true, 0 for false, NaN for unknown."""
        return _answers(self.taxonomy)[torch.tensor(self.taxonomy.starts)[level] + place]

    def levels(self, output: Tensor) -> tuple[Tensor, ...]:
        """Chances [B, width] of the topics of each level; a level's need not sum to 1."""
        return self.taxonomy.levels(output.sigmoid())


@value
class MaxConstraintBCE:
    """The same questions under a constraint: a topic is as likely as the likeliest inside it (C-HMCNN's MCLoss).

    What is false has to be false in all that lies in it. What is true may be so by any topic inside that isn't known to be
    false: of a label that stops half-way the deeper ones, unknown, may explain it (Giunchiglia and Lukasiewicz, 2020, whose
    labels are whole).
    """

    taxonomy: Taxonomy

    def __call__(self, output: Tensor, level: Tensor, place: Tensor) -> Tensor:
        """[B] losses of nodes' logits [B, nodes], before the constraint; labels are topics (level [B], place [B])."""
        highest, answers = MaxConstraint(taxonomy=self.taxonomy), self.plain.answers(level, place)
        true, false = answers == 1, answers == 0
        held_false = F.softplus(highest(output)).masked_fill(~false, 0)
        explained = highest(output, ~false).masked_fill(~true, torch.inf)
        return (held_false + F.softplus(-explained)).sum(1)

    @property
    def plain(self) -> MaskedNodeBCE:
        return MaskedNodeBCE(taxonomy=self.taxonomy)

    def levels(self, output: Tensor) -> tuple[Tensor, ...]:
        """Chances [B, width] of the topics of each level; none is above that of what it lies in."""
        return self.plain.levels(MaxConstraint(taxonomy=self.taxonomy)(output))


@lru_cache(maxsize=4)
def _answers(taxonomy: Taxonomy) -> Tensor:
    """[nodes, nodes] what the name of one topic says of each other."""
    inside = taxonomy.inside.float()
    shared = inside @ inside.T  # leaves in common
    above = shared == inside.sum(1)[:, None]  # the row's leaves all lie in the column
    below = shared == inside.sum(1)
    return above.float().masked_fill(below & ~above, torch.nan)
