"""A text as the mean of its words' vectors, and what a layer makes of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.value import require, value


@value
class WordBag:
    """The order of the words says nothing (fastText: Joulin et al., 2017), with one hidden layer on top."""

    dim: int = 48

    def __post_init__(self) -> None:
        require(self.dim > 0, f"dim must be positive, got {self.dim}")

    def build(self, num_words: int) -> nn.Module:
        return WordBagModule(num_words, self.dim)


class WordBagModule(nn.Module):
    """Words [B, T] -> vectors [B, D]."""

    def __init__(self, num_words: int, dim: int) -> None:
        super().__init__()
        self.words = nn.Embedding(num_words, dim)
        nn.init.normal_(self.words.weight, std=0.1)  # words hardly ever seen say little
        self.layer = nn.Linear(dim, dim)
        # the mean of T words is about as large as one over the root of T: brought back to the order of 1
        self.scale = 4.0

    def forward(self, words: Tensor) -> Tensor:
        mean = self.scale * self.words(words).mean(1)
        return mean + torch.relu(self.layer(mean))
