"""Small random cases for the tests of this folder."""

from __future__ import annotations

import numpy as np
import torch

from recsys.batch import Jagged
from recsys.evaluate.events import Events


def jagged(rows: list[list[int]]) -> Jagged:
    lengths = torch.tensor([0, *map(len, rows)])
    return Jagged(torch.tensor([item for row in rows for item in row], dtype=torch.int64), lengths.cumsum(0))


def random_rows(generator: np.random.Generator, num_users: int, num_items: int, most: int) -> list[list[int]]:
    """Distinct items per user in random order, some users without any."""
    sizes = generator.integers(0, most + 1, num_users)
    return [generator.permutation(num_items)[:size].tolist() for size in sizes]


def shopping(seed: int = 0, num_users: int = 40, num_items: int = 30, num_events: int = 1500) -> Events:
    """Events of users with favourites, over 100 days."""
    generator = np.random.default_rng(seed)
    taste = generator.dirichlet(np.full(num_items, 0.2), num_users)
    user = generator.integers(0, num_users, num_events)
    item = np.array([generator.choice(num_items, p=taste[u]) for u in user])
    time = np.sort(generator.integers(0, 100 * 86_400, num_events))
    return Events.of(user, item, time, num_users=num_users, num_items=num_items)
