"""The seesaw world against its own statement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.worlds.seesaw import DWELL_NOISE, DWELL_SPREAD, SeesawWorld


@pytest.mark.parametrize("conflict", [0.0, 0.5, 1.0])
def test_utilities_correlate_by_one_minus_conflict(conflict: float) -> None:
    held = [SeesawWorld(conflict=conflict).sample(seed).truth.correlation for seed in range(3)]
    off = torch.stack(held).mean(0)[~torch.eye(3, dtype=torch.bool)]
    assert off.numpy() == pytest.approx(np.full(6, 1 - conflict), abs=0.04)


def test_labels_have_the_rates_and_the_spread_that_they_are_drawn_from() -> None:
    logs, truth = SeesawWorld(scale=30, valid_rows=20_000, test_rows=20_000).sample(1)
    for t, name in enumerate(("click", "like")):
        assert float(logs.valid_labels[:, t].mean()) == pytest.approx(float(getattr(truth, name).mean()), abs=0.01)
    assert truth.like.mean() < 0.6 * truth.click.mean()
    seconds = logs.valid_labels[:, 2]
    assert float(seconds.mean()) == pytest.approx(float(truth.dwell.mean()), rel=0.03)
    assert float(seconds.log().std()) == pytest.approx((DWELL_SPREAD**2 + DWELL_NOISE**2) ** 0.5, rel=0.05)
    assert float(seconds.median()) == pytest.approx(30, rel=0.1)


def test_scale_changes_the_unit_of_dwell_and_nothing_else() -> None:
    one, other = SeesawWorld(scale=1).sample(4).logs, SeesawWorld(scale=300).sample(4).logs
    assert torch.equal(one.features, other.features)
    assert torch.equal(one.valid_labels[:, :2], other.valid_labels[:, :2])
    assert torch.allclose(300 * one.valid_labels[:, 2], other.valid_labels[:, 2], rtol=1e-4)


def test_same_seed_same_bits_and_sizes_disturb_no_stream() -> None:
    first, again = SeesawWorld().sample(7), SeesawWorld().sample(7)
    assert torch.equal(first.logs.label, again.logs.label)
    assert torch.equal(first.truth.click, again.truth.click)
    small = SeesawWorld(valid_rows=100, num_rows=901).sample(7)
    assert torch.equal(small.truth.click, first.truth.click)
    assert torch.equal(small.logs.valid_labels, SeesawWorld(valid_rows=100).sample(7).logs.valid_labels)
    assert not torch.equal(SeesawWorld().sample(8).truth.click, first.truth.click)


def test_rows_are_shared_evenly_by_the_logs() -> None:
    logs = SeesawWorld(num_rows=900).sample(0).logs
    assert torch.bincount(logs.task).tolist() == [300, 300, 300]
    assert set(logs.label[logs.task < 2].tolist()) <= {0.0, 1.0}
    assert logs.label[logs.task == 2].min() > 0


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="conflict"):
        SeesawWorld(conflict=1.5)
    with pytest.raises(ValueError, match="dim"):
        SeesawWorld(dim=8)
