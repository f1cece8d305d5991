"""A catalogue as embeddings have them: clusters of uneven size, users between their items and off to one side of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from recsys.random import rng

DIM = 64


@dataclass(frozen=True)
class Shop:
    items: np.ndarray  # [n, DIM] float32, norm 1
    users: np.ndarray  # [q, DIM] float32, norm 1
    cluster: np.ndarray  # [n] int64
    popularity: np.ndarray  # [n] float32, log of a Pareto draw, standardised


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@lru_cache(maxsize=4)
def shop(n: int, users: int = 200) -> Shop:
    draw = rng(0, "shop", n)
    num = max(16, n // 50)
    spectrum = np.arange(1, DIM + 1) ** -0.35
    above = unit_rows(draw.standard_normal((max(8, n // 2000), DIM)) * spectrum)
    centres = unit_rows(above[draw.integers(0, len(above), num)] + 0.12 * draw.standard_normal((num, DIM)) * spectrum)
    size = np.arange(1, num + 1) ** -0.7
    cluster = draw.choice(num, n, p=size / size.sum())
    noise = np.arange(1, DIM + 1) ** -0.5
    spread = 1.2 * draw.uniform(0.6, 1.4, num)[cluster, None] / np.linalg.norm(noise)
    items = unit_rows(centres[cluster] + spread * draw.standard_normal((n, DIM)) * noise)
    wealth = np.log(draw.pareto(1.2, n) + 1)
    return Shop(items, _users(items, users), cluster, ((wealth - wealth.mean()) / wealth.std()).astype(np.float32))


def _users(items: np.ndarray, count: int) -> np.ndarray:
    """Means of one to five items, moved by a gap that users and items have between them, and noise."""
    draw = rng(0, "users", len(items))
    gap = 0.4 * unit_rows(draw.standard_normal((1, DIM)))
    rows = np.empty((count, DIM))
    for user in range(count):
        taken = items[draw.integers(0, len(items), draw.integers(1, 6))]
        rows[user] = draw.dirichlet(np.ones(len(taken))) @ taken
    return unit_rows(unit_rows(rows) + gap + draw.standard_normal((count, DIM)) / np.sqrt(DIM))
