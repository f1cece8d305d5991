"""The plain truth: one list after another, one candidate after another; determinants are determinants."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kernels.topk_mmr.op import FLOOR, Lists


def greedy(lists: Lists, turns: int, lam: float, method: str) -> Tensor:
    """[B, turns] int64 places, -1 where a list has no more."""
    worth = _away if method == "mmr" else _volume
    place = torch.full((len(lists.value), turns), -1, dtype=torch.int64, device=lists.value.device)
    for row, vectors in enumerate(lists.vectors.double()):
        chosen: list[int] = []
        for turn in range(turns):
            best, most = -1, -math.inf
            for n in range(len(vectors)):
                value = float(lists.value[row, n])
                if n not in chosen and lam > 0:
                    value += lam * worth(vectors, chosen, n)
                if n not in chosen and value > most:
                    best, most = n, value
            if best < 0:
                break
            place[row, turn] = best
            chosen.append(best)
    return place


def _away(vectors: Tensor, chosen: list[int], n: int) -> float:
    return -max((float(vectors[n] @ vectors[c]) for c in chosen), default=0.0)


def _volume(vectors: Tensor, chosen: list[int], n: int) -> float:
    """By how much the log determinant of the chosen's products grows with one more; -inf if it is in their span."""
    own = float(vectors[n] @ vectors[n])
    grown = _log_det(vectors[[*chosen, n]]) - _log_det(vectors[chosen])
    return grown if own > 0 and grown > math.log(FLOOR * own) else -math.inf


def _log_det(vectors: Tensor) -> float:
    return float(torch.linalg.slogdet(vectors @ vectors.T).logabsdet) if len(vectors) else 0.0
