"""The marketplace is what it says it is."""

from __future__ import annotations

import pytest
import torch

from recsys.diagnose.repetition import effective_rank
from recsys.worlds.catalogue import Catalogue

SMALL = Catalogue(num_products=300, num_aspects=20, num_queries=40)


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    a, b, c = (SMALL.sample(seed).logs for seed in (1, 1, 2))
    assert torch.equal(a.listings, b.listings)
    assert torch.equal(a.clicks, b.clicks)
    assert a.listings.shape != c.listings.shape or not torch.equal(a.listings, c.listings)


def test_vectors_are_unit_and_listings_of_a_product_are_twins() -> None:
    logs, truth = Catalogue().sample(0)
    assert torch.allclose(logs.listings.norm(dim=1), torch.ones(len(logs.listings)), atol=1e-5)
    assert torch.allclose(logs.queries.norm(dim=1), torch.ones(len(logs.queries)), atol=1e-5)
    like = logs.listings @ logs.listings.T
    same = truth.product[:, None] == truth.product[None]
    assert float((like[same] > 0.95).float().mean()) > 0.99
    assert float((like[~same] > 0.95).float().mean()) == 0


def test_listings_follow_the_pareto_law() -> None:
    _, truth = Catalogue(num_products=20_000, most=60).sample(0)
    size = truth.product.bincount(minlength=20_000)
    assert int(size.min()) == 1
    assert int(size.max()) == 60
    for at_least in (2, 10, 30):  # P(X >= x) = x^-tail
        assert float((size >= at_least).float().mean()) == pytest.approx(at_least**-1.1, rel=0.1)


def test_one_listing_a_product_leaves_no_twins() -> None:
    logs, truth = Catalogue(most=1).sample(0)
    assert truth.product.tolist() == list(range(1500))
    like = logs.listings @ logs.listings.T
    assert float(like.fill_diagonal_(0).max()) < 0.95


def test_clicks_have_the_shares_of_the_intents() -> None:
    world = Catalogue(num_clicks=200, intents=(0.6, 0.3, 0.1))
    logs, truth = world.sample(0)
    assert torch.allclose(truth.weight.sum(1), torch.ones(200))
    assert truth.weight[0].sort(descending=True).values[:4].tolist() == pytest.approx([0.6, 0.3, 0.1, 0.0])
    clicked = truth.aspect[truth.product[logs.clicks]]  # [Q, C]
    weight = truth.weight.gather(1, clicked)
    for share in world.intents:
        assert float((weight == share).float().mean()) == pytest.approx(share, abs=0.02)


def test_a_query_lies_nearest_to_what_most_of_its_users_mean() -> None:
    logs, truth = Catalogue().sample(0)
    aspect = truth.aspect[truth.product]
    first = (aspect == truth.weight.argmax(1)[:, None]).float()  # [Q, N]
    score = logs.queries @ logs.listings.T
    mine, others = (score * first).sum(1) / first.sum(1), (score * (1 - first)).sum(1) / (1 - first).sum(1)
    assert float((mine > others).float().mean()) > 0.98


def test_switches_do_what_they_say_and_leave_other_streams_alone() -> None:
    plain, collapsed, liked = (Catalogue(**held).sample(3) for held in ({}, {"collapse": 0.9}, {"popularity": 1.0}))
    for other in (collapsed, liked):
        assert torch.equal(plain.logs.clicks, other.logs.clicks)
        assert torch.equal(plain.truth.weight, other.truth.weight)
    assert effective_rank(collapsed.logs.listings) < 6 < 20 < effective_rank(plain.logs.listings)
    assert float(liked.logs.listings[:, -1].max()) == pytest.approx(0.5**0.5, abs=1e-5)
    assert float(plain.logs.listings[:, -1].abs().max()) == 0


@pytest.mark.parametrize("wrong", [{"intents": ()}, {"tail": 0}, {"most": 0}, {"collapse": 1.0}])
def test_settings_that_mean_nothing_are_named(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Catalogue(**wrong)
