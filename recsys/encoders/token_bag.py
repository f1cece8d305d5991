"""A text as the sum of its tokens' vectors, in a vocabulary that may be too small for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.bag import bag
from recsys.encoders.query import TextModule
from recsys.random import torch_rng
from recsys.value import require, value


@value
class TokenBag:
    """A row for each token, or `rows` rows that tokens share by hash (Weinberger et al., 2009): few rows, and a rare token
    says what the frequent one says with which it shares its row. Whatever two texts have in common, they have in common from
    the start, since one table serves queries and items.
    """

    rows: int | None = None

    def __post_init__(self) -> None:
        require(self.rows is None or self.rows >= 1, f"rows must be positive or null, got {self.rows}")

    def build(self, num_tokens: int, dim: int, longest: int, seed: int) -> TokenBagModule:
        del longest
        return TokenBagModule(self.rows, num_tokens, dim, seed)

    def multiply_adds(self, length: int, dim: int) -> float:
        return float(length * dim)


class TokenBagModule(TextModule):
    def __init__(self, rows: int | None, num_tokens: int, dim: int, seed: int) -> None:
        super().__init__()
        drawn = torch.randn(1 + (rows or num_tokens), dim, generator=torch_rng(seed, "init", "tokens"))
        self.table = nn.Parameter(drawn / dim**0.5)  # row 0 is padding
        self.num_hashes = 0 if rows is None else 1

    @torch.no_grad()
    def start(self, vectors: Tensor) -> None:
        """Begin with vectors [1 + V, D]; tokens whose vector is zero keep what was drawn."""
        require(self.num_hashes == 0, "tokens that share rows by hash have no vectors of their own to begin with")
        self.table.copy_(torch.where(vectors.any(1)[:, None], vectors, self.table))

    def summed(self, tokens: Tensor) -> Tensor:
        offsets = torch.arange(0, tokens.numel() + 1, tokens.shape[1])
        return bag(self.table, tokens.reshape(-1), offsets, num_hashes=self.num_hashes)
