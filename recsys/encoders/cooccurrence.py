"""What words mean, learnt from texts alone: words that stand with the same words mean the same."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.random import stream_seed
from recsys.value import require, value

PADDING = 0
TURNS = 4  # of the randomised decomposition


@value
class Cooccurrence:
    """Positive pointwise mutual information, decomposed: word vectors without a network.

    Words of a text stand together, whatever lies between them. Left vectors times the root of the singular values; contexts'
    counts are taken to the power `smooth`, since rare ones look informative by chance (Levy and Goldberg, 2014; Levy,
    Goldberg and Dagan, 2015; Halko, Martinsson and Tropp, 2011).
    """

    smooth: float = 0.75

    def __post_init__(self) -> None:
        require(0 < self.smooth <= 1, f"smooth must lie in (0, 1], got {self.smooth}")

    def __call__(self, texts: Tensor, num_tokens: int, dim: int, seed: int) -> Tensor:
        """[1 + V, D] unit vectors of tokens, of texts [N, W] padded with 0; zero for a token that stands with no other."""
        information = self.information(texts, num_tokens)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "cooccurrence"))
            left, values, _ = torch.svd_lowrank(information, min(2 * dim, num_tokens + 1), niter=TURNS)
        held = left[:, :dim] * values[:dim].sqrt()
        held = torch.nn.functional.pad(held, (0, dim - held.shape[1]))
        some = information.any(1)[:, None]
        return torch.nn.functional.normalize(held, dim=1) * some

    def information(self, texts: Tensor, num_tokens: int) -> Tensor:
        """[1 + V, 1 + V] max(0, log of how much oftener two tokens stand together than by chance)."""
        counts = pairs(texts, num_tokens)
        context = counts.sum(0) ** self.smooth
        expected = counts.sum(1)[:, None] * context / context.sum()
        return (counts / expected).log().nan_to_num(nan=0.0, neginf=0.0).clamp(min=0)


def pairs(texts: Tensor, num_tokens: int) -> Tensor:
    """[1 + V, 1 + V] how many pairs of places of a text hold two tokens; a token isn't counted with itself."""
    left, right = torch.broadcast_tensors(texts[:, :, None], texts[:, None, :])
    real = (left != right) & (left != PADDING) & (right != PADDING)
    counts = torch.zeros(num_tokens + 1, num_tokens + 1)
    return counts.index_put_((left[real], right[real]), torch.ones(()), accumulate=True)
