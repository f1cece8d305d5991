"""Targets in units of their own spread."""

from __future__ import annotations

import pytest
import torch

from recsys.balance.targets import TargetScaler

SECONDS = torch.tensor([1.0, 5.0, 30.0, 900.0, float("nan")])


def test_standardised_targets_have_mean_0_and_deviation_1_in_any_unit() -> None:
    for factor in (1.0, 60.0):
        held = TargetScaler(kind="standard").fit(SECONDS * factor)(SECONDS[:4] * factor)
        assert float(held.mean()) == pytest.approx(0, abs=1e-6)
        assert float(held.std()) == pytest.approx(1)


def test_log_keeps_the_order_and_raw_changes_nothing() -> None:
    held = TargetScaler(kind="log1p").fit(SECONDS)(SECONDS[:4])
    assert bool((held.diff() > 0).all())
    assert torch.equal(TargetScaler(kind="raw").fit(SECONDS)(SECONDS[:4]), SECONDS[:4])


def test_a_constant_target_divides_by_no_zero() -> None:
    assert TargetScaler().fit(torch.full((3,), 2.0))(torch.tensor([2.0])).isfinite().all()
