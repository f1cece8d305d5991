"""The world of topics and tastes against its own statement."""

from __future__ import annotations

import pytest
import torch

from recsys.worlds.coarse_fine import CoarseFineWorld
from recsys.worlds.world import Sample

SMALL = {"num_users": 400, "num_items": 300, "num_lists": 500, "held_lists": 300}


def world(**given: float) -> CoarseFineWorld:
    return CoarseFineWorld(**{**SMALL, **given})  # type: ignore[arg-type]


def test_outcomes_have_the_chances_they_are_drawn_from() -> None:
    logs, truth = world().sample(1)
    for name, drawn in (("click", logs.train.clicks), ("like", logs.train.likes)):
        chance = getattr(truth, name)[logs.train.user[:, None], logs.train.items]
        assert float(drawn.mean()) == pytest.approx(float(chance.mean()), abs=0.02)
        band = (chance > 0.4) & (chance < 0.6)
        assert float(drawn[band].mean()) == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(logs.train.clicks, logs.train.likes)


def test_lists_are_distinct_items_of_the_users_topic_and_later_ones_harder() -> None:
    plain, shifted = world().sample(2), world(shift=1.0).sample(2)
    assert bool((plain.logs.train.items.sort(dim=1).values.diff(dim=1) > 0).all())

    def within(sample: Sample, part: str) -> tuple[float, float]:
        shown = getattr(sample.logs, part)
        chance = sample.truth.like[shown.user[:, None], shown.items]
        return float(chance.mean()), float(chance.std(dim=1).mean())

    assert within(plain, "train")[0] > 2 * float(plain.truth.like.mean())
    assert within(plain, "later") == pytest.approx(within(plain, "valid"), abs=0.02)
    assert within(shifted, "later")[1] < 0.8 * within(shifted, "valid")[1]
    assert torch.equal(plain.logs.valid.items, shifted.logs.valid.items)


@pytest.mark.parametrize("agree", [1.0, 0.0, -1.0])
def test_clicks_follow_the_taste_of_likes_as_far_as_they_agree(agree: float) -> None:
    truth, base = world(agree=agree).sample(3).truth, world(fine=0.0).sample(3).truth.like.logit()
    taste = truth.like.logit() - base
    assert torch.allclose(truth.click.logit() - base, agree * taste, atol=1e-3)
    assert float(taste.std()) == pytest.approx(1.5, rel=0.15)


def test_without_fine_only_the_topic_counts() -> None:
    truth = world(fine=0.0).sample(4).truth
    assert torch.equal(truth.click, truth.like)
    within = torch.stack([truth.like[:, truth.topic == t].std(dim=1).mean() for t in range(3)]).mean()
    assert within < 0.5 * float(truth.like.std())


def test_same_seed_same_bits_and_streams_are_apart() -> None:
    first, again, more = (world(**given).sample(5).logs for given in ({}, {}, {"num_lists": 50}))
    assert torch.equal(first.train.likes, again.train.likes)
    assert torch.equal(first.valid.items, more.valid.items)
    assert torch.equal(first.users, more.users)
    assert not torch.equal(first.users, world().sample(6).logs.users)


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="agree"):
        world(agree=2.0)
    with pytest.raises(ValueError, match="list_size"):
        world(list_size=300)
