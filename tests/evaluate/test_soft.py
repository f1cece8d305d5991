"""Weighted ranking metrics against sklearn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_curve

from recsys.evaluate.soft import average_precision, recall_at_fpr, threshold_at_fpr
from recsys.random import rng


@pytest.mark.parametrize("size", [3, 50, 401])
def test_of_labels_it_is_sklearn_s(size: int) -> None:
    draw = rng(size, "soft")
    y, scores = (draw.random(size) < 0.4).astype(float), draw.integers(20, size=size) / 20
    y[0], y[1] = 1, 0
    weight = draw.random(size)
    ours = average_precision(scores, weight * y, weight * (1 - y))
    assert ours == pytest.approx(average_precision_score(y, scores, sample_weight=weight))
    fpr, tpr, _ = roc_curve(y, scores, sample_weight=weight, drop_intermediate=False)
    expected = tpr[fpr <= 0.25 + 1e-12].max()
    assert recall_at_fpr(scores, weight * y, weight * (1 - y), 0.25) == pytest.approx(expected)


def test_of_chances_it_is_that_of_as_many_rows_in_both_classes() -> None:
    draw = rng(1, "soft")
    chance, scores = draw.integers(1, 10, size=30) / 10, draw.permutation(30).astype(float)
    y = np.concatenate([np.r_[np.ones(round(10 * p)), np.zeros(10 - round(10 * p))] for p in chance])
    assert average_precision(scores, chance, 1 - chance) == pytest.approx(
        average_precision_score(y, np.repeat(scores, 10))
    )


def test_nothing_fits_under_the_rate() -> None:
    assert threshold_at_fpr(np.ones(4), np.ones(4), 0.01) == float("inf")
    assert np.isnan(average_precision(np.ones(4), np.zeros(4), np.ones(4)))
    with pytest.raises(ValueError, match="NaN"):
        average_precision(np.array([np.nan]), np.ones(1), np.ones(1))
