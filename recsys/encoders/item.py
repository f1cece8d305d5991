"""The item encoder: one hidden state per item, shared by retrieval, ranking and the users' histories."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.data.catalogue import Catalogue
from recsys.data.spec import PADDING, DatasetSpec
from recsys.value import require, value


@value
class ItemEncoder:
    """What an item is and which item it is: hashed ids, categories, numbers and text through one MLP.

    Ids are summed over `num_hashes` hashes into one table (Svenstrup et al. 2017), so that few items share all of
    their rows; the table doesn't grow with the catalogue.
    """

    hidden: int = 64
    id_dim: int = 32
    category_dim: int = 8
    id_buckets: int = 32_768
    num_hashes: int = 2
    dropout: float = 0.1
    text: bool = True

    def __post_init__(self) -> None:
        require(self.hidden > 0, f"item.hidden must be positive, got {self.hidden}")
        require(self.id_buckets >= 2, f"item.id_buckets must be at least 2, got {self.id_buckets}")
        require(self.num_hashes >= 1, f"item.num_hashes must be at least 1, got {self.num_hashes}")
        require(0 <= self.dropout < 1, f"item.dropout must lie in [0, 1), got {self.dropout}")

    def build(self, dataset: DatasetSpec) -> ItemModule:
        return ItemModule(self, dataset)


class ItemModule(nn.Module):
    def __init__(self, spec: ItemEncoder, dataset: DatasetSpec) -> None:
        super().__init__()
        self.ids = embedding(spec.id_buckets, spec.id_dim)
        self.categories = Categories(dataset.item_categorical, spec.category_dim)
        text_dim = dataset.text_dim if spec.text else 0
        self.text = nn.Linear(text_dim, spec.hidden) if text_dim else None
        width = spec.id_dim + self.categories.width + len(dataset.item_numeric) + (spec.hidden if text_dim else 0)
        self.mix = mlp(width, 2 * spec.hidden, spec.hidden, spec.dropout)
        self.norm = nn.LayerNorm(spec.hidden)

    def forward(self, columns: Catalogue) -> Tensor:
        parts = [self.ids(columns.id_hash).sum(1), self.categories(columns.categorical), columns.numeric]
        if self.text is not None:
            parts.append(self.text(columns.text.float()))
        return self.norm(self.mix(torch.cat(parts, dim=1)))  # [n, H]


class Categories(nn.Module):
    """One embedding per categorical column, side by side: [n, C] indices to [n, C * dim]."""

    def __init__(self, cardinalities: dict[str, int], dim: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(embedding(cardinality, dim) for cardinality in cardinalities.values())
        self.width = dim * len(cardinalities)

    def forward(self, indices: Tensor) -> Tensor:
        if not len(self.tables):
            return torch.zeros(indices.shape[0], 0, device=indices.device)
        return torch.cat([table(column) for table, column in zip(self.tables, indices.unbind(1), strict=True)], dim=1)


def embedding(num: int, dim: int) -> nn.Embedding:
    """A table whose row 0 is padding and stays zero; the others start small, so that frequent rows lead."""
    table = nn.Embedding(num, dim, padding_idx=PADDING)
    with torch.no_grad():
        table.weight.normal_(std=0.1)
        table.weight[PADDING] = 0
    return table


class Dropout(nn.Dropout):
    """Dropout (Srivastava et al. 2014), on a CPU with eight decisions from one random number.

    Drawing a number for each value would take a tenth of a training step. The share dropped is a multiple of 1 / 256.
    """

    def forward(self, values: Tensor) -> Tensor:
        cut = round(256 * self.p)
        if not self.training or cut == 0 or values.device.type != "cpu":
            return super().forward(values)
        numbers = torch.empty(values.numel() // 8 + 1, dtype=torch.int64).random_(-(2**63), None)
        kept = numbers.view(torch.uint8)[: values.numel()] >= cut
        return values * kept.to(values.dtype).mul_(256 / (256 - cut)).view(values.shape)


def mlp(width: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), Dropout(dropout), nn.Linear(hidden, out))
