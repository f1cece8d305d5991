"""The world of slates is what its docstring says."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from recsys.worlds.slates import SlateWorld


def same(one: object, other: object) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]  # type: ignore[arg-type]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    world = SlateWorld(num_lists=60, num_requests=10)
    one, two, other = world.sample(3), world.sample(3), world.sample(4)
    assert same(one.logs, two.logs)
    assert same(one.truth, two.truth)
    assert not torch.equal(one.logs.click, other.logs.click)


def test_a_rival_switch_leaves_the_other_streams_alone() -> None:
    plain, late = SlateWorld(num_lists=200).sample(1), SlateWorld(num_lists=200, delay=5.0).sample(1)
    assert torch.equal(plain.logs.click, late.logs.click)
    assert bool((late.logs.cart <= plain.logs.cart).all())
    assert float(late.logs.cart.sum()) < float(plain.logs.cart.sum())
    without = SlateWorld(num_lists=200, randomised=0.0).sample(1)
    kept = ~plain.logs.randomised
    assert torch.equal(plain.logs.position[kept], without.logs.position[kept])


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.5])
def test_clicks_of_random_lists_fall_with_the_place_as_looks_do(eta: float) -> None:
    logs, truth = SlateWorld(randomised=1.0, eta=eta, num_lists=20_000).sample(2)
    rate = torch.stack([logs.click[logs.position == k].mean() for k in range(1, 11)])
    torch.testing.assert_close(rate / rate[0], truth.examination, atol=0.02, rtol=0.05)


def test_positions_are_an_order_of_the_old_score() -> None:
    logs = SlateWorld(num_lists=100, length=7, randomised=0.0).sample(0).logs
    assert torch.equal(logs.position.sort(1).values, torch.arange(1, 8).expand(100, 7))
    by_place = logs.logged_score.gather(1, logs.position.argsort(1))
    assert bool((by_place.diff(dim=1) <= 0).all())


@pytest.mark.parametrize("wanted", [-0.3, 0.0, 0.8])
def test_boost_correlates_with_quality_as_told(wanted: float) -> None:
    world = SlateWorld(num_sellers=20_000, boost_quality=wanted, num_lists=8000, relevance_weight=0.0, noise=0.0)
    logs, truth = world.sample(5)
    early = truth.logged_relevance - logs.features @ world._tastes(5)[0]
    both = torch.stack([early[logs.period < 2].flatten(), logs.logged_score[logs.period < 2].flatten()])
    assert float(torch.corrcoef(both)[0, 1]) == pytest.approx(wanted, abs=0.03)


def test_the_old_ranker_places_what_is_boosted_above_what_is_relevant_unless_there_is_no_boost() -> None:
    worth = {}
    for boost in (1.2, 0.0):
        logs, truth = SlateWorld(boost=boost, randomised=0.0).sample(0)
        worth[boost] = float(truth.logged_relevance[logs.position == 1].mean())
    assert worth[0.0] > worth[1.2] + 0.2


def test_shift_turns_later_tastes_by_its_share_of_a_right_angle() -> None:
    for shift in (0.0, 0.5, 1.0):
        early, late = SlateWorld(shift=shift)._tastes(7)
        angle = torch.tensor(shift * torch.pi / 2)
        assert float(early @ late) == pytest.approx(float(angle.cos()), abs=1e-5)
        assert float(early[-1]) == float(late[-1]) == 0


def test_delay_hides_carts_of_the_last_days_at_its_rate() -> None:
    plain, late = (SlateWorld(num_lists=20_000, delay=delay).sample(0).logs for delay in (0.0, 3.0))
    for low, high in ((0.0, 10.0), (25.0, 28.0)):
        days = (plain.day >= low) & (plain.day < high)
        wanted = (1 - torch.exp(-(28.0 - plain.day[days]) / 3.0)).mean()
        assert float(late.cart[days].sum() / plain.cart[days].sum()) == pytest.approx(float(wanted), abs=0.05)


def test_bait_draws_clicks_and_repels_carts() -> None:
    plain, baited = (SlateWorld(bait=bait).sample(0) for bait in (0.0, 1.5))
    high = plain.logs.requests[..., -1] > 1
    assert bool((baited.truth.click[high] > plain.truth.click[high]).all())
    assert bool((baited.truth.cart[high] < plain.truth.cart[high]).all())


def test_sessions_show_the_same_item_again() -> None:
    logs = SlateWorld(num_lists=90, sessions=3).sample(0).logs
    assert set(logs.item.unique(return_counts=True)[1].tolist()) == {3}
    first = logs.item == logs.item[0, 0]
    assert len(logs.features[first].unique(dim=0)) == 1


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of sessions, got 7"):
        SlateWorld(num_lists=7)
    with pytest.raises(ValueError, match="correlation"):
        SlateWorld(boost_quality=2.0)
