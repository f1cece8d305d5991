"""Each reranker against a loop over one list at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recsys.rerank.cap import CellQuota, NearDuplicateCap
from recsys.rerank.greedy import Diverse, TopK
from recsys.rerank.intents import Shares, XQuad
from recsys.rerank.pool import Pool
from tests.rerank.pools import pool

ALL = (
    TopK(),
    Diverse(method="mmr"),
    Diverse(method="dpp"),
    NearDuplicateCap(threshold=0.5),
    CellQuota(),
    Shares(),
    Shares(by="equal"),
    XQuad(),
)


def ranked(held: Pool, row: int) -> list[int]:
    usable = [n for n in range(held.scores.shape[1]) if held.scores[row, n] > -math.inf]
    return sorted(usable, key=lambda n: (-float(held.scores[row, n]), n))


def filled(found: list[int], k: int) -> list[int]:
    return (found + [-1] * k)[:k]


def capped(held: Pool, row: int, k: int, threshold: float, most: int) -> list[int]:
    passed: list[int] = []
    for n in ranked(held, row):
        if sum(float(held.vectors[row, n] @ held.vectors[row, c]) > threshold for c in passed) < most:
            passed.append(n)
    return filled(passed + [n for n in ranked(held, row) if n not in passed], k)


def by_quota(held: Pool, row: int, k: int, most: int) -> list[int]:
    left, found = ranked(held, row), []
    while left:
        taken: dict[int, int] = {}
        turn = []
        for n in left:
            cell = int(held.cells[row, n])
            if taken.get(cell, 0) < most:
                taken[cell] = taken.get(cell, 0) + 1
                turn.append(n)
        found += turn
        left = [n for n in left if n not in turn]
    return filled(found, k)


def dealt(held: Pool, row: int, k: int, shares: Tensor) -> list[int]:
    lists = {i: [n for n in ranked(held, row) if held.source[row, n] == i] for i in range(shares.shape[1])}
    taken, found = dict.fromkeys(lists, 0), []
    while any(lists.values()) and len(found) < k:
        best = max((i for i in lists if lists[i]), key=lambda i: (float(shares[row, i]) / (2 * taken[i] + 1), -i))
        found.append(lists[best].pop(0))
        taken[best] += 1
    return filled(found, k)


def answered(held: Pool, row: int, k: int, lam: float, temperature: float) -> list[int]:
    usable, found = ranked(held, row), []
    if not usable:
        return [-1] * k
    high, low = (float(pick(held.scores[row, usable])) for pick in (torch.max, torch.min))

    def answers(n: int, i: int) -> float:
        cosines = held.interests[row] @ held.vectors[row, n]
        return float((cosines / temperature).softmax(0)[i] * cosines[i].clamp(0, 1))

    while len(found) < min(k, len(usable)):
        worth = {}
        for n in sorted(set(usable) - set(found)):
            novel = sum(
                float(held.shares[row, i]) * answers(n, i) * math.prod(1 - answers(c, i) for c in found)
                for i in range(held.shares.shape[1])
            )
            worth[n] = (1 - lam) * (float(held.scores[row, n]) - low) / max(high - low, 1e-9) + lam * novel
        found.append(max(worth, key=lambda n: worth[n]))
    return filled(found, k)


@pytest.mark.parametrize("k", [1, 6, 13])
@pytest.mark.parametrize("seed", range(3))
def test_each_is_its_loop(k: int, seed: int) -> None:
    held = pool(seed=seed)
    rows = range(len(held.scores))
    assert TopK()(held, k).tolist() == [filled(ranked(held, row), k) for row in rows]
    assert NearDuplicateCap(threshold=0.3, most=2)(held, k).tolist() == [capped(held, row, k, 0.3, 2) for row in rows]
    assert CellQuota(most=2)(held, k).tolist() == [by_quota(held, row, k, 2) for row in rows]
    assert Shares()(held, k).tolist() == [dealt(held, row, k, held.shares) for row in rows]
    equal = torch.ones_like(held.shares)
    assert Shares(by="equal")(held, k).tolist() == [dealt(held, row, k, equal) for row in rows]
    assert XQuad(lam=0.6)(held, k).tolist() == [answered(held, row, k, 0.6, 0.1) for row in rows]


@pytest.mark.parametrize("rerank", ALL)
def test_nothing_stands_twice_and_nothing_empty_is_shown(rerank) -> None:
    held = pool()
    place = rerank(held, 10)
    for row, found in enumerate(place.tolist()):
        there = [n for n in found if n >= 0]
        assert len(set(there)) == len(there)
        assert all(held.scores[row, n] > -math.inf for n in there)
        assert found == there + [-1] * (10 - len(there))  # no gaps
    assert rerank.multiply_adds(held, 10) >= 0


def test_settings_that_mean_nothing_are_named() -> None:
    with pytest.raises(ValueError, match=r"lam must lie in \[0, 1\], got 2"):
        Diverse(method="mmr", lam=2)
    with pytest.raises(ValueError, match="most must be at least 1, got 0"):
        CellQuota(most=0)
