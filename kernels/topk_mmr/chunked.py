"""Lists in blocks whose vectors stay in the cache from turn to turn."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.choose import rows_at_once
from kernels.topk_mmr.op import FLOOR, Lists, full


def greedy(lists: Lists, turns: int, lam: float, method: str) -> Tensor:
    """[B, turns] int64 places, -1 where a list has no more."""
    rows, width, dim = lists.vectors.shape
    step = rows_at_once(width * dim)
    blocks = [slice(start, start + step) for start in range(0, rows, step)]
    return torch.cat([_block(_part(lists, block), turns, lam, method) for block in blocks])


def _part(lists: Lists, block: slice) -> Lists:
    vectors = lists.vectors[block]
    return Lists(vectors.to(full(vectors.dtype)), lists.value[block], lists.squares[block])


def _block(lists: Lists, turns: int, lam: float, method: str) -> Tensor:
    likeness: _Nearest | _Span = _Nearest(lists) if method == "mmr" else _Span(lists, turns)
    value = lists.value.clone()
    place = torch.empty(len(value), turns, dtype=torch.int64, device=value.device)
    for turn in range(turns):
        worth = value if lam == 0 else value - lam * likeness.cost
        most, best = worth.max(1, keepdim=True)
        place[:, turn : turn + 1] = best.masked_fill(most == -torch.inf, -1)
        value.scatter_(1, best, -torch.inf)
        if lam > 0 and turn + 1 < turns:
            likeness.add(best, turn)
    return place


class _Nearest:
    """The greatest product with a chosen vector."""

    def __init__(self, lists: Lists) -> None:
        self.vectors, self.cost = lists.vectors, torch.zeros_like(lists.squares)

    def add(self, best: Tensor, turn: int) -> None:
        products = _products(self.vectors, best)
        self.cost = products if turn == 0 else torch.maximum(self.cost, products)


class _Span:
    """Minus the log of the squared distance to the span of the chosen, by a Cholesky factor that grows by a row a turn."""

    def __init__(self, lists: Lists, turns: int) -> None:
        self.vectors, self.squares, self.left = lists.vectors, lists.squares, lists.squares.clone()
        self.factor = lists.squares.new_empty(len(lists.squares), turns, lists.squares.shape[1])
        self.cost = self._cost()

    def add(self, best: Tensor, turn: int) -> None:
        held = self.factor[:, :turn]  # [b, turn, N]
        own = held.gather(2, best[:, None].expand(-1, turn, 1))  # [b, turn, 1]
        products = _products(self.vectors, best) - (held * own).sum(1)
        tiny = torch.finfo(products.dtype).tiny
        row = products / self.left.gather(1, best).clamp(min=tiny).sqrt()  # of a list that is used up, whatever
        self.factor[:, turn] = row
        self.left = self.left - row.square()
        self.cost = self._cost()

    def _cost(self) -> Tensor:
        outside = self.left > FLOOR * self.squares
        return -torch.where(outside, self.left, 0).log()  # inf for what lies in the span


def _products(vectors: Tensor, best: Tensor) -> Tensor:
    """[b, N] of every vector with the one chosen last."""
    last = vectors.gather(1, best[..., None].expand(-1, 1, vectors.shape[2]))  # [b, 1, D]
    return torch.bmm(vectors, last.transpose(1, 2)).squeeze(2)
