"""How much of what a query's users mean a list answers, and how often it says the same thing twice.

Lists are [B, K]: labels of what stands at each place, -1 where nothing does. One number a list.
"""

from __future__ import annotations

import torch
from torch import Tensor


def repeats(products: Tensor) -> Tensor:
    """[B, K] bool: the product stood at an earlier place already. Empty places repeat nothing."""
    earlier = torch.ones(products.shape[1], products.shape[1], dtype=torch.bool).tril(-1)
    same = (products[:, :, None] == products[:, None]) & earlier
    return same.any(2) & (products >= 0)


def unique_share(products: Tensor) -> Tensor:
    """[B] different products over places; an empty place is no product."""
    return ((products >= 0) & ~repeats(products)).double().mean(1)


def alpha_dcg(gains: Tensor, aspects: Tensor, products: Tensor, alpha: float = 0.5) -> Tensor:
    """[B] gains [B, K], each worth (1 - alpha)^(products of its aspect before it), discounted by log2(1 + place).

    Clarke et al., 2008, with one aspect an item, and a product that stood before worth nothing and counted no second time.
    """
    new = (products >= 0) & ~repeats(products)
    earlier = torch.ones(products.shape[1], products.shape[1], dtype=torch.bool).tril(-1)
    before = ((aspects[:, :, None] == aspects[:, None]) & earlier & new[:, None]).sum(2)
    return _discounted(gains.double() * new * (1 - alpha) ** before)


def best_alpha_list(gains: Tensor, aspects: Tensor, k: int, alpha: float = 0.5) -> tuple[Tensor, Tensor]:
    """[B, k] additions and products of the best list there is, of products [P] with gains [B, P] and aspects [P].

    An aspect's products come in falling order of gain, so what they add falls too: the k greatest additions are the best.
    """
    order = gains.double().sort(dim=1, descending=True, stable=True)
    held = aspects[order.indices]  # [B, P]
    before = torch.zeros_like(held)
    for aspect in aspects.unique():
        mine = held == aspect
        before = torch.where(mine, mine.cumsum(1) - 1, before)
    best = (order.values * (1 - alpha) ** before).topk(min(k, gains.shape[1]), dim=1)
    return best.values, order.indices.gather(1, best.indices)


def best_alpha_dcg(gains: Tensor, aspects: Tensor, k: int, alpha: float = 0.5) -> Tensor:
    """[B] the most that k places can come to."""
    return _discounted(best_alpha_list(gains, aspects, k, alpha)[0])


def covered(aspects: Tensor, weight: Tensor) -> Tensor:
    """[B] share of the query's users, weight [B, A], whose aspect stands anywhere in the list."""
    there = torch.zeros(len(weight), weight.shape[1] + 1, dtype=torch.bool)
    there.scatter_(1, aspects.masked_fill(aspects < 0, weight.shape[1]), True)
    return (weight.double() * there[:, :-1]).sum(1)


def intra_list_distance(vectors: Tensor) -> Tensor:
    """[B] mean of 1 - cosine over pairs of places, vectors [B, K, D] of norm 1 (Ziegler et al., 2005).

    It doesn't ask whether anybody wanted what makes the list so wide: a shuffled list beats a good one.
    """
    width = vectors.shape[1]
    total = vectors.sum(1).square().sum(1).double()
    return 1 - (total - width) / (width * (width - 1))


def _discounted(gains: Tensor) -> Tensor:
    return (gains / torch.arange(2, gains.shape[1] + 2, dtype=torch.float64).log2()).sum(1)
