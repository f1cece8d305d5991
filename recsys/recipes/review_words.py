"""What reviews' words mean to a pretrained sentence encoder, in as few numbers as a small model has."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from recsys.data.text import TextSpec, text_vectors
from recsys.value import value
from recsys.worlds.review_searches import vocabulary


@value
class ReviewWords:
    """Each word encoded as a text of its own (MiniLM), then the directions in which words differ most (Hotelling, 1933)."""

    text: TextSpec = TextSpec(kind="minilm")

    def __call__(self, texts: Tensor, num_tokens: int, dim: int, seed: int) -> Tensor:
        """[1 + V, D] unit vectors; the world's own words, so texts aren't read."""
        del texts, seed
        vectors = torch.from_numpy(text_vectors(self.text, vocabulary()[:num_tokens])).float()
        centred = vectors - vectors.mean(0)
        directions = torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)[:, :dim]
        return pad(normalize(centred @ directions, dim=1), (0, 0, 1, 0))
