"""The loss of chosen triplets needs three rows an anchor, whatever chose them; its gradient has the same bits every time."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class TripletOutput(NamedTuple):
    """What every anchor met; distances are NaN where there is no such item."""

    loss: Tensor  # [B] unreduced
    positive: Tensor  # [B] int64 place, -1 for none
    negative: Tensor  # [B] int64 place, -1 for none
    positive_distance: Tensor  # [B] without gradient
    negative_distance: Tensor  # [B] without gradient


def lose(vectors: Tensor, positive: Tensor, negative: Tensor, metric: str, margin: float | None) -> TripletOutput:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), or softplus of the difference; in float32 at least."""
    rows = vectors if vectors.dtype == torch.float64 else vectors.float()
    if metric == "cosine":
        rows = F.normalize(rows, dim=1)
    near = distance(rows, _Rows.apply(rows, positive.clamp(min=0)), metric)
    far = distance(rows, _Rows.apply(rows, negative.clamp(min=0)), metric)
    whole = (positive >= 0) & (negative >= 0)
    gap = near - far
    loss = F.softplus(gap) if margin is None else F.relu(gap + margin)
    broken = 0 * rows.detach().sum(1)  # NaN for an anchor that isn't finite, which found nothing
    loss = torch.where(whole, loss, broken)
    near, far = near.detach(), far.detach()
    return TripletOutput(
        loss,
        positive,
        negative,
        near.masked_fill(positive < 0, torch.nan),
        far.masked_fill(negative < 0, torch.nan),
    )


def distance(anchor: Tensor, other: Tensor, metric: str) -> Tensor:
    """[B] from differences, not from norms and products: near neighbours keep their digits."""
    square = (anchor - other).square().sum(1)
    if metric == "cosine":
        return square / 2  # of unit vectors: 1 - cos
    if metric == "squared":
        return square
    apart = square > 0  # at distance 0 the root has no slope
    return torch.where(apart, square, 1).sqrt() * apart


class _Rows(torch.autograd.Function):
    """Rows by place. The gradient of a row that is chosen often is summed in one order."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = rows.shape[0]
        return rows[places]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (places,) = ctx.saved_tensors
        total = gradient.new_zeros(ctx.size, gradient.shape[1])
        if gradient.is_cuda:  # sorts; index_add_ would be atomic there
            return total.index_put((places,), gradient, accumulate=True), None
        return total.index_add(0, places, gradient), None
