"""Lists of films keep the order of time: nothing tested is learnt from, and features know only what is learnt from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.data.movielens import MovieLens
from recsys.random import rng
from recsys.worlds.film_lists import FilmLists, _ratings, features

pytestmark = pytest.mark.real


def test_lists_are_what_people_rated_in_their_order() -> None:
    logs, truth = FilmLists(people=1.0).sample(0)
    events = MovieLens()().events.to_pandas()
    users, items = sorted(events["user"].unique()), sorted(events["item"].unique())
    for person in (0, 17, 400):
        own = events[events["user"] == users[person]].sort_values(["time", "item"])
        rated = [items.index(item) for item in own["item"]]
        learnt = logs.train.items[logs.train.user == person].flatten().tolist()
        tested = logs.test_items[logs.test_user == person].flatten().tolist()
        known = int(np.ceil(len(own) * 0.6))
        assert learnt == rated[: known // 10 * 10]
        assert set(tested) <= set(rated[known:])
        assert not set(tested) & set(learnt)
        liked = own.set_index("item")["liked"]
        assert truth.like[person, tested].tolist() == [liked[items[item]] for item in tested]
        assert bool((truth.click[person, tested] == 1).all())


def test_a_seed_draws_people() -> None:
    first, again, other = (FilmLists().sample(seed).logs for seed in (0, 0, 1))
    assert torch.equal(first.test_items, again.test_items)
    assert set(first.test_user.tolist()) != set(other.test_user.tolist())
    assert 0.7 * 943 < len(set(first.train.user.tolist())) < 0.81 * 943


def test_features_see_nothing_of_what_comes_later() -> None:
    rows = _ratings()
    early = rows[: len(rows) // 2]
    shape = rows[:, 0].max() + 1, rows[:, 1].max() + 1
    users, items = features(early, shape, 8)
    assert users.shape == (shape[0], 8)
    assert items.shape == (shape[1], 8)
    flipped = early.copy()
    flipped[:, 2] = rng(0, "likes").permutation(flipped[:, 2])
    watched, _ = features(flipped, shape, 8)
    torch.testing.assert_close(watched[:, :4], users[:, :4])  # who watched what doesn't depend on who liked it
    assert not torch.allclose(watched[:, 4:].abs(), users[:, 4:].abs(), atol=1e-3)
