"""The user encoder: who asks, where, and what they had done before, as one hidden state."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.batch import Batch, Jagged
from recsys.data.catalogue import UserTable
from recsys.data.spec import DatasetSpec
from recsys.encoders.item import Categories, Dropout, embedding, mlp
from recsys.value import require, value

NUM_AGES = 32  # age buckets, each 1.6 times the one before, from an hour on


@value
class UserEncoder:
    """A pre-norm transformer over the history's items, pooled, beside profile and context.

    Kang and McAuley 2018 for the history; ages in place of positions, since what counts is how long ago.
    """

    hidden: int = 64
    layers: int = 1
    heads: int = 2
    dropout: float = 0.1
    user_buckets: int = 0  # rows of a table of hashed user ids; 0: a user is their history and profile
    user_dim: int = 16
    category_dim: int = 8

    def __post_init__(self) -> None:
        require(self.layers >= 0, f"user.layers must not be negative, got {self.layers}")
        require(self.heads > 0, f"user.heads must be positive, got {self.heads}")
        require(self.hidden % self.heads == 0, f"user.hidden {self.hidden} must be a multiple of heads {self.heads}")
        require(self.user_buckets != 1, "user.user_buckets must be 0 (none) or at least 2, got 1")
        require(0 <= self.dropout < 1, f"user.dropout must lie in [0, 1), got {self.dropout}")

    def build(self, dataset: DatasetSpec) -> UserModule:
        return UserModule(self, dataset)


class UserModule(nn.Module):
    age_edges: Tensor

    def __init__(self, spec: UserEncoder, dataset: DatasetSpec) -> None:
        super().__init__()
        edges = 1.6 ** torch.arange(NUM_AGES - 1, dtype=torch.float32) / 24
        self.register_buffer("age_edges", edges, persistent=False)
        self.ages = nn.Embedding(NUM_AGES, spec.hidden)
        nn.init.normal_(self.ages.weight, std=0.1)
        self.blocks = nn.ModuleList(Block(spec.hidden, spec.heads, spec.dropout) for _ in range(spec.layers))
        self.norm = nn.LayerNorm(spec.hidden)
        self.probe = nn.Linear(spec.hidden, 1, bias=False)
        self.profile = Categories(dataset.user_categorical, spec.category_dim)
        self.context = Categories(dataset.context, spec.category_dim)
        self.ids = embedding(spec.user_buckets, spec.user_dim) if spec.user_buckets else None
        width = 2 * spec.hidden + 1 + self.profile.width + self.context.width + len(dataset.user_numeric)
        width += spec.user_dim if spec.user_buckets else 0
        self.mix = mlp(width, 2 * spec.hidden, spec.hidden, spec.dropout)
        self.out = nn.LayerNorm(spec.hidden)

    def forward(self, history_hidden: Tensor, batch: Batch, users: UserTable) -> Tensor:
        length = batch.history.lengths.float().log1p()[:, None]
        parts = [*self.pooled(history_hidden, batch), length, self.profile(users.categorical), users.numeric]
        parts.append(self.context(batch.context))
        if self.ids is not None:
            parts.append(self.ids(users.hash))
        return self.out(self.mix(torch.cat(parts, dim=1)))  # [B, H]

    def pooled(self, history_hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The history as a weighted mean, by a learnt question, and as a plain mean, [B, H] each; 0 without history."""
        aged = history_hidden + self.ages(torch.bucketize(batch.history_age, self.age_edges))
        states, mask = Jagged(aged, batch.history.offsets).padded()  # [B, L, H], [B, L]
        # finite, so that the attention of a row without history is defined; its result is masked below
        bias = torch.zeros_like(mask, dtype=states.dtype).masked_fill(~mask, torch.finfo(states.dtype).min)
        for block in self.blocks:
            states = block(states, bias)
        states = self.norm(states) * mask[..., None]
        share = (self.probe(states).squeeze(-1) + bias).softmax(1) * mask
        mean = states.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return (share[..., None] * states).sum(1), mean


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each on normalised input and added to it (Xiong et al. 2020)."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_feed = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.project, self.merge = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.feed = mlp(hidden, 2 * hidden, hidden, dropout)
        self.dropout = Dropout(dropout)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        B, L, H = states.shape
        projected = self.project(self.norm_attention(states)).view(B, L, 3, self.heads, H // self.heads)
        query, key, held = projected.permute(2, 0, 3, 1, 4)  # [B, heads, L, H / heads] each
        seen = F.scaled_dot_product_attention(query, key, held, bias[:, None, None].to(query.dtype))
        states = states + self.dropout(self.merge(seen.transpose(1, 2).reshape(B, L, H)))
        return states + self.dropout(self.feed(self.norm_feed(states)))
