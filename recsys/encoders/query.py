"""A ladder of query encoders: what a query costs, and whether the order of its tokens can be told, rung by rung."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize, pad

from kernels.bag import bag
from recsys.random import stream_seed
from recsys.value import require, value

PADDING = 0
FACTOR = 1_000_003  # two tokens as one id


class QueryEncoder(Protocol):
    """A frozen value that builds a module from padded tokens [B, L] (0 is padding) to unit vectors [B, D]."""

    def build(self, num_tokens: int, dim: int, longest: int, seed: int) -> TextModule:
        """Weights of the stream (seed, "query encoder")."""
        ...

    def multiply_adds(self, length: int, dim: int) -> float:
        """Of one query of so many tokens, padding included."""
        ...


class TextModule(nn.Module):
    """Unit vectors of texts. `summed` is the same before it is normalised, so that something can be added to it."""

    def summed(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no summed()")

    def forward(self, tokens: Tensor) -> Tensor:
        return normalize(self.summed(tokens), dim=1)


@value
class Transformer:
    """Pre-norm self-attention over a query's tokens (Vaswani et al., 2017; Xiong et al., 2020), their mean, a projection."""

    layers: int = 4
    width: int = 64
    heads: int = 4
    expand: int = 4

    def __post_init__(self) -> None:
        require(self.layers >= 1, f"layers must be at least 1, got {self.layers}")
        require(self.width % self.heads == 0, f"width {self.width} isn't a multiple of heads {self.heads}")

    def build(self, num_tokens: int, dim: int, longest: int, seed: int) -> TransformerModule:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "query encoder"))
            return TransformerModule(self, num_tokens, dim, longest)

    def multiply_adds(self, length: int, dim: int) -> float:
        layer = length * (4 + 2 * self.expand) * self.width**2 + 2 * length**2 * self.width
        return float(self.layers * layer + self.width * dim)


class TransformerModule(TextModule):
    def __init__(self, spec: Transformer, num_tokens: int, dim: int, longest: int) -> None:
        super().__init__()
        self.token = nn.Embedding(num_tokens + 1, spec.width, padding_idx=PADDING)
        self.place = nn.Parameter(0.5 * torch.randn(longest, spec.width))
        self.layers = nn.ModuleList(Layer(spec.width, spec.heads, spec.expand) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.width)
        self.out = nn.Linear(spec.width, dim)

    def summed(self, tokens: Tensor) -> Tensor:
        there = tokens != PADDING  # [B, L]
        hidden = self.token(tokens) + self.place[: tokens.shape[1]]
        closed = torch.zeros(there.shape, dtype=hidden.dtype).masked_fill(~there, -1e9)[:, None, None]  # [B, 1, 1, L]
        for layer in self.layers:
            hidden = layer(hidden, closed)
        hidden = self.norm(hidden) * there[..., None]
        return self.out(hidden.sum(1) / there.sum(1, keepdim=True).clamp(min=1))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, expand: int) -> None:
        super().__init__()
        self.heads = heads
        self.attend_norm, self.mix_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.back = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, expand * width), nn.Linear(expand * width, width)

    def forward(self, hidden: Tensor, closed: Tensor) -> Tensor:
        rows, length, width = hidden.shape
        heads = self.qkv(self.attend_norm(hidden)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, held = heads.unbind(0)  # [B, heads, L, width / heads]
        share = (query @ key.transpose(2, 3) * key.shape[3] ** -0.5 + closed).softmax(3)
        hidden = hidden + self.back((share @ held).transpose(1, 2).reshape(rows, length, width))
        return hidden + self.down(gelu(self.up(self.mix_norm(hidden))))


@value
class HashedBag:
    """A sum of table rows: of tokens, and with `grams` 2 of hashed pairs of neighbours, which know their order.

    Joulin et al., 2016 (fastText). Nothing is multiplied: a query costs a few rows of memory.
    """

    grams: int = 1
    buckets: int = 8192

    def __post_init__(self) -> None:
        require(self.grams in (1, 2), f"grams must be 1 or 2, got {self.grams}")

    def build(self, num_tokens: int, dim: int, longest: int, seed: int) -> HashedBagModule:
        del longest
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "query encoder"))
            return HashedBagModule(self, num_tokens, dim)

    def multiply_adds(self, length: int, dim: int) -> float:
        return float(dim * (length + (self.grams - 1) * (length - 1)))


class HashedBagModule(TextModule):
    def __init__(self, spec: HashedBag, num_tokens: int, dim: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(num_tokens + 1, dim) / dim**0.5)
        # pairs start at nothing: they are what a sum of tokens doesn't explain
        self.pairs = nn.Parameter(torch.zeros(spec.buckets, dim)) if spec.grams == 2 else None

    def summed(self, tokens: Tensor) -> Tensor:
        found = _summed(self.tokens, tokens, 0)
        if self.pairs is not None:
            after = pad(tokens[:, 1:], (0, 1))
            found = found + _summed(self.pairs, (tokens * FACTOR + after).masked_fill(after == PADDING, 0), 1)
        return found


def _summed(table: Tensor, ids: Tensor, num_hashes: int) -> Tensor:
    offsets = torch.arange(0, ids.numel() + 1, ids.shape[1])
    return bag(table, ids.reshape(-1), offsets, num_hashes=num_hashes)


def truncated(module: TransformerModule, layers: int) -> TransformerModule:
    """A copy with only the first `layers` layers: a start for a smaller student (DistilBERT, Sanh et al., 2019)."""
    require(1 <= layers <= len(module.layers), f"layers must lie in 1..{len(module.layers)}, got {layers}")
    width = module.token.weight.shape[1]
    first = module.layers[0]
    assert isinstance(first, Layer)
    spec = Transformer(layers=layers, width=width, heads=first.heads, expand=first.up.out_features // width)
    made = spec.build(module.token.num_embeddings - 1, module.out.out_features, len(module.place), 0)
    held = module.state_dict()
    made.load_state_dict({name: held[name] for name in made.state_dict()})
    return made
