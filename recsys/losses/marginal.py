"""A label that stops half-way down the tree speaks of the sum of the leaves below it."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.taxonomy import Taxonomy
from recsys.value import value


@value
class MarginalNLL:
    """Minus the log probability of the topic named: what lies deeper is summed over, not held to be false.

    Deng et al., 2014 (HEX graphs) and Ristin et al., 2015 for trees; for any sets of candidates Cour et al., 2011.
    """

    taxonomy: Taxonomy

    def __call__(self, output: Tensor, level: Tensor, place: Tensor) -> Tensor:
        """[B] losses of leaves' logits [B, C]; labels are topics (level [B], place [B])."""
        node = torch.tensor(self.taxonomy.starts)[level] + place
        named = output.masked_fill(~self.taxonomy.inside[node], -torch.inf)
        return output.logsumexp(1) - named.logsumexp(1)

    def levels(self, output: Tensor) -> tuple[Tensor, ...]:
        """Chances [B, width] of the topics of each level: sums of their leaves'."""
        return self.taxonomy.levels(output.softmax(1) @ self.taxonomy.inside.T.to(output.dtype))


@value
class JointMarginalNLL:
    """The level at which a label stops is evidence too, where annotators stop for reasons that depend on the topic.

    Minus the log of the sum, over the leaves inside the topic named, of the leaf's chance times that of such a label
    stopping there: selection is modelled, not ignored (Rubin, 1976; Little and Rubin, 2002, chapter 15).
    """

    taxonomy: Taxonomy

    def __call__(self, output: Tensor, level: Tensor, place: Tensor) -> Tensor:
        """[B] losses of [B, C, 1 + depth]: logits of leaves, log chances of stops; labels (level [B], place [B])."""
        node = torch.tensor(self.taxonomy.starts)[level] + place
        stop = output[..., 1:].gather(2, level[:, None, None].expand(-1, output.shape[1], 1))[..., 0]
        joint = output[..., 0].log_softmax(1) + stop
        return -joint.masked_fill(~self.taxonomy.inside[node], -torch.inf).logsumexp(1)

    def levels(self, output: Tensor) -> tuple[Tensor, ...]:
        """Chances [B, width] of the topics of each level, whether or not an annotator would name them."""
        return MarginalNLL(taxonomy=self.taxonomy).levels(output[..., 0])
