"""The small ranker keeps its own standardisation."""

from __future__ import annotations

import torch

from recsys.heads.list_ranker import ListRanker


def test_it_does_not_care_in_which_units_features_came_when_it_was_built() -> None:
    features = torch.randn(40, 10, 4, generator=torch.Generator().manual_seed(0))
    units = torch.tensor([1.0, 20.0, 0.01, 3.0])
    plain, scaled = ListRanker().build(features, 0), ListRanker().build(features * units + 5, 0)
    assert torch.allclose(plain(features), scaled(features * units + 5), atol=1e-3)
    assert plain(features).shape == (40, 10)
    assert not torch.allclose(plain(features), plain(features * units), atol=0.1)


def test_a_constant_feature_stays_finite_and_may_move_later() -> None:
    features = torch.randn(40, 10, 3)
    features[..., 2] = 0
    ranker = ListRanker(hidden=5).build(features, 1)
    moved = features.clone()
    moved[..., 2] = 1
    assert float((ranker(moved) - ranker(features)).detach().abs().max()) < 10
    assert sum(p.numel() for p in ranker.parameters()) == 3 * 5 + 5 + 5 + 1
