"""What one would write with plain torch: the peers of the kernels, on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.bag.hashing import rows_of


def triplet_matrix(rows: Tensor, labels: Tensor, negative: str) -> Tensor:
    """[] mean triplet loss of rows [B, D] with the hardest positives, "hard" or "semihard" negatives; all distances at once."""
    apart, same = torch.cdist(rows, rows), labels[:, None] == labels
    far = apart.masked_fill(~same.clone().fill_diagonal_(False), -torch.inf).amax(1)
    near = apart.masked_fill(same if negative == "hard" else same | (apart <= far[:, None]), torch.inf).amin(1)
    if negative == "semihard":
        near = torch.where(near.isinf(), apart.masked_fill(same, -torch.inf).amax(1), near)
    return (far - near + 0.2).clamp(min=0).mean()


def hashed_bags(table: Tensor, values: Tensor, offsets: Tensor, num_hashes: int) -> Tensor:
    """[B, D] sums of the rows of every id, by embedding_bag."""
    rows = rows_of(values, num_hashes, len(table)).flatten()
    return F.embedding_bag(rows, table, offsets * num_hashes, mode="sum", include_last_offset=True)


def shifted(scores: Tensor, owner: Tensor, segments: int) -> Tensor:
    """Scores [B, C] less the largest of their segment, owner [C]."""
    high = scores.detach().new_full((len(scores), segments), -torch.inf)
    return scores - high.scatter_reduce(1, owner.expand_as(scores), scores.detach(), "amax")[:, owner]


def scattered_log_softmax(scores: Tensor, owner: Tensor, segments: int) -> Tensor:
    """[B, C] log softmax of scores [B, C] within each segment, sums by scattering."""
    apart = shifted(scores, owner, segments)
    return apart - apart.new_zeros(len(scores), segments).index_add(1, owner, apart.exp()).log()[:, owner]
