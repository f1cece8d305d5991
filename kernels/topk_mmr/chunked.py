"""Lists in blocks whose vectors stay in the cache from turn to turn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kernels.choose import rows_at_once
from kernels.topk_mmr.op import FLOOR, Lists, full

GRAM_TURNS = 16  # with more turns than N / 16, one product of all with all is cheaper than one a turn


def greedy(lists: Lists, turns: int, lam: float, method: str) -> Tensor:
    """[B, turns] int64 places, -1 where a list has no more."""
    rows, width, dim = lists.vectors.shape
    step = rows_at_once(width * max(dim, width))
    blocks = [slice(start, start + step) for start in range(0, rows, step)]
    choose = _mmr if method == "mmr" or lam == 0 else _dpp
    found = [choose(_part(lists, block), turns, lam) for block in blocks]
    return torch.cat([best.masked_fill(most == -torch.inf, -1) for best, most in found])


def _part(lists: Lists, block: slice) -> Lists:
    vectors = lists.vectors[block]
    return Lists(vectors.to(full(vectors.dtype)), lists.value[block], lists.squares[block])


def _mmr(lists: Lists, turns: int, lam: float) -> tuple[Tensor, Tensor]:
    """Places and worths [b, turns]; the worth of the first is its value, of others the least that a chosen one leaves."""
    worth, most, best = lists.value.clone(), [], []
    least = worth.masked_fill(worth > -torch.inf, torch.inf)
    product = _products(lists.vectors, turns)
    for turn in range(turns):
        top, place = worth.max(1)
        most.append(top)
        best.append(place)
        if lam > 0 and turn + 1 < turns:
            # fmin passes over the NaN of a vector that is no candidate
            worth = torch.fmin(worth if turn else least, torch.sub(lists.value, product(place), alpha=lam))
        worth.scatter_(1, place[:, None], -torch.inf)
    return torch.stack(best, 1), torch.stack(most, 1)


def _dpp(lists: Lists, turns: int, lam: float) -> tuple[Tensor, Tensor]:
    """Places and worths [b, turns]: a Cholesky factor of the chosen's products grows by a row a turn."""
    value, left, most, best = lists.value.clone(), lists.squares.clone(), [], []
    factor = left.new_empty(len(left), turns, left.shape[1])
    product = _products(lists.vectors, turns)
    tiny = torch.finfo(left.dtype).tiny
    for turn in range(turns):
        outside = torch.where(left > FLOOR * lists.squares, left, 0)
        top, place = torch.add(value, outside.log(), alpha=lam).max(1)
        most.append(top)
        best.append(place)
        held, at = factor[:, :turn], place[:, None, None].expand(-1, turn, 1)
        row = product(place) - torch.bmm(held.gather(2, at).transpose(1, 2), held).squeeze(1)
        row /= left.gather(1, place[:, None]).clamp(min=tiny).sqrt()  # of a list that is used up, whatever
        factor[:, turn] = row
        left -= row.square()
        value.scatter_(1, place[:, None], -torch.inf)
    return torch.stack(best, 1), torch.stack(most, 1)


def _products(vectors: Tensor, turns: int) -> Callable[[Tensor], Tensor]:
    """From places [b] to the products [b, N] of every vector with the one of its list that is there."""
    turned, every = vectors.transpose(1, 2), torch.arange(len(vectors), device=vectors.device)
    if turns * GRAM_TURNS < vectors.shape[1]:
        return lambda place: torch.bmm(vectors[every, place][:, None], turned).squeeze(1)
    products, start = torch.bmm(vectors, turned).flatten(0, 1), every * vectors.shape[1]
    return lambda place: products.index_select(0, place + start)
