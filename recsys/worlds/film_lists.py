"""Films that people rated, as lists: what was rated is to be retrieved, what was liked is to be ranked first."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from recsys.data.movielens import MovieLens
from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.coarse_fine import CoarseFineLogs, Shown
from recsys.worlds.truth_coarse_fine import CoarseFineTruth
from recsys.worlds.world import Sample

Matrix = np.ndarray


@value
class FilmLists:
    """MovieLens-100k (GroupLens: research only): a list is `list_size` films that one person rated one after the other.

    All of a list was watched, so every place is a click, and ratings of 4 and 5 are likes. Of each person's films in order
    of time the last `new` are tested, and as many before them held out. Users and items are known by the factors
    of what was watched and of what was liked until then, `dim` in all. A seed draws the people; what they did is what they
    did, so the spread over seeds is that of the people drawn.
    """

    list_size: int = 10
    people: float = 0.8  # share of those who take part
    new: float = 0.2
    dim: int = 32

    def __post_init__(self) -> None:
        require(self.dim % 2 == 0, f"dim must be even, half for watching and half for liking, got {self.dim}")
        require(0 < self.new < 0.5, f"new must lie between 0 and 0.5, got {self.new}")

    def sample(self, seed: int) -> Sample:
        watched = _ratings()
        num_users, num_items = watched[:, 0].max() + 1, watched[:, 1].max() + 1
        drawn = torch.randperm(num_users, generator=torch_rng(seed, "people")) < self.people * num_users
        watched = watched[drawn.numpy()[watched[:, 0]]]
        part = self._part(watched[:, 0])
        known, held, test = (watched[part == name] for name in range(3))
        users, items = features(known, (num_users, num_items), self.dim)
        train, valid = self._lists(known), self._lists(held)
        later = self._lists(test)
        drawn_as, click, like = torch.zeros(3, num_users, num_items)
        click[test[:, 0], test[:, 1]] = 1
        like[test[:, 0], test[:, 1]] = torch.from_numpy(test[:, 2]).float()
        logs = CoarseFineLogs(
            users=users,
            items=items,
            attributes=items[:, :6],
            train=train,
            valid=valid,
            later=valid,
            test_user=later.user,
            test_items=later.items,
        )
        return Sample(logs, CoarseFineTruth(drawn_as, click, like, items[:, :6], items.argmax(1)))

    def _part(self, user: Matrix) -> Matrix:
        """[n] 0 to learn from, 1 held out, 2 tested; rows are in order of user and time."""
        starts = np.searchsorted(user, user)
        ends = np.searchsorted(user, user, side="right")
        place = (np.arange(len(user)) - starts) / (ends - starts)
        return np.digitize(place, [1 - 2 * self.new, 1 - self.new])

    def _lists(self, rows: Matrix) -> Shown:
        """Whole lists only; a person's last films that don't fill one are left out."""
        starts = np.searchsorted(rows[:, 0], rows[:, 0])
        ends = np.searchsorted(rows[:, 0], rows[:, 0], side="right")
        whole = np.arange(len(rows)) - starts < (ends - starts) // self.list_size * self.list_size
        user, items, likes = torch.from_numpy(rows[whole]).T.reshape(3, -1, self.list_size)
        return Shown(user[:, 0], items, torch.ones(items.shape), likes.float())


def features(rows: Matrix, shape: tuple[int, int], dim: int) -> tuple[Tensor, Tensor]:
    """[U, dim] and [I, dim] leading factors of who watched what, and of who liked it more than others and than usual."""
    watched, liked = torch.zeros(2, *shape, dtype=torch.float64)
    watched[rows[:, 0], rows[:, 1]] = 1
    liked[rows[:, 0], rows[:, 1]] = torch.from_numpy(rows[:, 2]).double() - rows[:, 2].mean()
    liked -= watched * (liked.sum(1, keepdim=True) / (watched.sum(1, keepdim=True) + 5))
    liked -= watched * (liked.sum(0, keepdim=True) / (watched.sum(0, keepdim=True) + 5))
    popular = watched / (watched.sum(1, keepdim=True).sqrt() * watched.sum(0, keepdim=True).sqrt()).clamp(min=1)
    sides: tuple[list[Tensor], list[Tensor]] = [], []
    for matrix in (popular, liked):
        left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
        for side, factors in zip(sides, (left, right.T), strict=True):
            held = factors[:, : dim // 2] * sizes[: dim // 2].sqrt()
            side.append((held - held.mean(0)) / held.std(0))
    users, items = (torch.cat(side, dim=1).float() for side in sides)
    return users, items


@lru_cache(maxsize=1)
def _ratings() -> Matrix:
    """[100,000, 3] user, item and whether it was liked, in order of user and time."""
    events = MovieLens()().events
    columns = [np.unique(events[name].to_numpy(), return_inverse=True)[1] for name in ("user", "item")]
    order = np.lexsort((columns[1], events["time"].to_numpy(), columns[0]))
    return np.stack([*columns, events["liked"].to_numpy().astype(np.int64)], axis=1)[order]
