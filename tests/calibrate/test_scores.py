"""Scores under a contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from recsys.calibrate.scores import per_list, population_stability, quantile_map


def test_a_quantile_map_gives_the_training_distribution_and_keeps_the_order() -> None:
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(5003, generator=generator)
    live = 20 * torch.randn(3001, generator=generator).exp() + 7
    mapped = quantile_map(live, train, live)
    assert stats.ks_2samp(mapped.numpy(), train.numpy()).statistic < 0.01
    order = live.argsort()
    assert (mapped[order].diff() >= 0).all()


def test_a_quantile_map_is_numpys_interpolation_between_quantiles() -> None:
    live, train = torch.tensor([0.0, 1.0, 2.0, 4.0, 8.0]), torch.tensor([10.0, 20.0, 21.0, 22.0, 50.0])
    asked = torch.tensor([[-3.0, 0.5, 3.0], [8.0, 6.0, 99.0]])
    wanted = np.interp(asked.numpy(), live.numpy(), train.numpy())
    assert np.allclose(quantile_map(live, train, asked).numpy(), wanted, atol=1e-5)


def test_scores_that_are_all_one_value_can_be_mapped() -> None:
    assert quantile_map(torch.ones(9), torch.arange(9.0), torch.ones(2, 3)).isfinite().all()
    with pytest.raises(ValueError, match="two samples"):
        quantile_map(torch.ones(1), torch.ones(5), torch.ones(2))


def test_lists_standardised_or_ranked_do_not_see_scale_or_offset() -> None:
    scores = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    assert torch.equal(per_list(scores, "raw"), scores)
    for contract in ("zscore", "rank"):
        assert torch.allclose(per_list(scores, contract), per_list(20 * scores + 3, contract), atol=1e-5)
    assert np.allclose(per_list(scores, "zscore").numpy(), stats.zscore(scores.numpy(), axis=1, ddof=1), atol=1e-5)
    wanted = (stats.rankdata(scores.numpy(), axis=1) - 1) / 6
    assert np.allclose(per_list(scores, "rank").numpy(), wanted)


def test_population_stability_is_its_sum_over_bins() -> None:
    generator = torch.Generator().manual_seed(2)
    train, live = torch.randn(4000, generator=generator), torch.randn(2500, generator=generator) * 1.3 + 0.4
    edges = np.quantile(train.numpy().astype(float), np.linspace(0, 1, 11)[1:-1])
    p, q = (np.bincount(np.searchsorted(edges, x.numpy()), minlength=10) / len(x) for x in (train, live))
    assert population_stability(train, live) == pytest.approx(float(((p - q) * np.log(p / q)).sum()), rel=1e-6)
    assert population_stability(train, train) == pytest.approx(0, abs=1e-9)
    assert np.isfinite(population_stability(train, live + 100))
