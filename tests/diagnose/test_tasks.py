"""Signals of multi-task evidence against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.diagnose.tasks import GradientTrace, Interventions, TaskCurves, difference_noise, oscillation


def test_oscillation_of_white_noise_is_its_deviation_and_of_a_line_nothing() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, (6000, 2))
    assert oscillation(noise) == pytest.approx([0.02, 0.02], rel=0.05)
    assert oscillation(np.linspace(0, 1, 60)[:, None]) == pytest.approx([0], abs=1e-12)
    assert oscillation(np.linspace(0, 1, 600)[:, None] + noise[:600, :1]) == pytest.approx([0.02], rel=0.15)
    assert np.isnan(oscillation(np.zeros((2, 3)))).all()


def test_difference_noise_is_the_deviation_of_a_mean_of_differences() -> None:
    rng = np.random.default_rng(1)
    labels, said = rng.normal(size=4000), rng.normal(size=(12, 4000))
    found = difference_noise(lambda y, p: float((y * p).mean()), labels, said, groups=20)
    assert found == pytest.approx((2 / 4000) ** 0.5, rel=0.15)  # y (p' - p) has variance 2
    assert difference_noise(lambda y, p: float(p.mean()), labels, np.tile(said[:1], (5, 1))) == 0


def test_dispersion_is_one_for_independent_rows_and_the_batch_for_blocks() -> None:
    rng = np.random.default_rng(2)
    independent = rng.multinomial(64, [0.5, 0.3, 0.2], 4000)
    assert trace(independent).dispersion() == pytest.approx(1, abs=0.05)
    assert trace(np.full((30, 3), 8)).dispersion() == 0
    assert trace(np.eye(3, dtype=int)[np.arange(30) % 3] * 24).dispersion() == pytest.approx(24)


def trace(rows: np.ndarray) -> GradientTrace:
    steps = len(rows)
    return GradientTrace(("a", "b", "c"), np.arange(steps), np.ones((steps, 3)), np.zeros((steps, 3)), rows)


def test_norm_ratio_leaves_out_steps_without_gradient() -> None:
    norms = np.array([[1.0, 0.0], [3.0, 10.0]])
    held = GradientTrace(("a", "b"), np.arange(2), norms, np.zeros((2, 1)))
    assert held.norm_ratio() == pytest.approx(5)
    assert held.dispersion() == 0
    assert held.pairs == (("a", "b"),)


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="cosines must have 3 pairs"):
        GradientTrace(("a", "b", "c"), np.arange(2), np.ones((2, 3)), np.ones((2, 2)))
    with pytest.raises(ValueError, match="values must be"):
        TaskCurves(("a",), np.arange(3), np.ones((3, 2)), np.ones(2))


def test_what_was_not_run_is_nan() -> None:
    held = Interventions(("a", "b"), {"as_is": (0.5, 0.6)})
    assert np.isnan(held.of("wider")).all()
    assert held.of("as_is").tolist() == [0.5, 0.6]
    assert np.isnan(held.swings("as_is")).all()
