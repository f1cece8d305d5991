"""The geometry of labels is named from features and labels that anybody could bring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.diagnose.diagnosis import HEALTHY, Evidence
from recsys.diagnose.label_geometry import (
    LabelGeometry,
    LabelledFeatures,
    ProbeMistakes,
    _decorrelated,
    _Halves,
    _square,
)

D = 12


def scattered(centres: np.ndarray, per_class: int = 60, seed: int = 0) -> LabelledFeatures:
    g = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(centres)), per_class)
    g.shuffle(label)
    return LabelledFeatures(centres[label] + g.standard_normal((len(label), D)), label)


def said(data: LabelledFeatures, missed: float = 0.3) -> str:
    label = data.label[:500]
    wrong = np.random.default_rng(1).random(500) < missed
    other = np.random.default_rng(2).permutation(label)
    return LabelGeometry()(Evidence.of(data, ProbeMistakes(label, np.where(wrong, other, label)))).cause


def tree() -> np.ndarray:
    g = np.random.default_rng(3)
    broad, narrow = g.standard_normal((6, D)) * 4, g.standard_normal((36, D))
    return np.repeat(broad, 6, 0) + 1.1 * narrow


def line() -> np.ndarray:
    return np.linspace(-15, 15, 36)[:, None] * np.random.default_rng(4).standard_normal(D) / D**0.5


def test_scale_tree_and_neither() -> None:
    assert said(scattered(line())) == "ordinal"
    assert said(scattered(tree())) == "hierarchical"
    assert said(scattered(np.random.default_rng(5).standard_normal((36, D)))) == "nominal"
    assert said(scattered(tree()), missed=0.01) == HEALTHY


def test_noise_features_and_frequencies_come_first() -> None:
    data = scattered(tree())
    g = np.random.default_rng(6)
    flipped = np.where(g.random(len(data.label)) < 0.25, g.permutation(data.label), data.label)
    assert said(replace(data, label=flipped)) == "label_noise"
    assert said(scattered(np.repeat(tree()[::2], 2, 0))) == "missing_features"
    rare = data.label % 2 == 1
    keep = ~rare | (g.random(len(rare)) < 0.2)
    label = data.label[keep]
    toward = ProbeMistakes(label[:600], label[:600] - (label[:600] % 2))
    unequal = LabelledFeatures(data.x[keep], label)
    assert LabelGeometry()(Evidence.of(unequal, toward)).cause == "imbalance"


def test_distance_to_the_nearest_is_unbiased_by_few_rows() -> None:
    centres = np.zeros((30, D))
    for rows in (20, 200):
        data = scattered(centres, rows)
        assert _Halves.of(data).nearest() < 0.5
    apart = np.eye(D)[:10] * 3.0
    data = scattered(apart, 100)
    assert _Halves.of(data).nearest() == pytest.approx(3 * 2**0.5, rel=0.1)


def test_square_distances_are_those_of_a_loop() -> None:
    g = np.random.default_rng(7)
    x, y = g.standard_normal((7, 3)), g.standard_normal((5, 3))
    assert np.allclose(_square(x, y), [[((a - b) ** 2).sum() for b in y] for a in x])


def test_features_that_vary_together_are_no_more_witnesses_than_one() -> None:
    g = np.random.default_rng(8)
    data = scattered(tree())
    shared = 6.0 * g.standard_normal((len(data.label), 2)) @ g.standard_normal((2, D))
    assert said(replace(data, x=data.x + shared)) in ("hierarchical", "nominal")


def test_decorrelation_finds_the_covariance_of_the_better_half() -> None:
    g = np.random.default_rng(9)
    mixed = g.standard_normal((5000, 6)) @ g.standard_normal((6, 6))
    rows = np.concatenate([mixed, 50 + 30 * g.standard_normal((1500, 6))])
    found = np.cov((mixed @ _decorrelated(rows)).T)
    assert np.allclose(found, np.eye(6) * np.trace(found) / 6, atol=0.12)
    assert 0.75 < np.trace(found) / 6 < 1.1  # the median counts the outliers as rows
