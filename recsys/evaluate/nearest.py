"""Whether the nearest other item is of the same class: recall@1 as metric learning counts it (Jégou et al. 2011)."""

from __future__ import annotations

import torch
from torch import Tensor


def nearest(vectors: Tensor) -> Tensor:
    """[N] place of every vector's nearest other one, in float64: in a collapsed space distances are small numbers."""
    held = vectors.double()
    return torch.cdist(held, held).fill_diagonal_(torch.inf).argmin(1)


def recall_at_1(vectors: Tensor, labels: Tensor) -> float:
    """Share of the items [N, D] whose nearest other item has their label."""
    return float((labels[nearest(vectors)] == labels).double().mean())


def by_size(found: Tensor, labels: Tensor) -> dict[str, float]:
    """recall@1 of all items and of the thirds of the classes with the fewest and the most items; found [N] bool."""
    sizes = torch.bincount(labels)
    order = sizes.argsort(stable=True)
    order = order[sizes[order] > 0]
    third = max(1, len(order) // 3)
    slices = {"small": order[:third], "large": order[-third:]}
    rows = {name: torch.isin(labels, chosen) for name, chosen in slices.items()}
    return {"recall@1": float(found.double().mean())} | {
        f"recall@1[{name}]": float(found[row].double().mean()) for name, row in rows.items()
    }
