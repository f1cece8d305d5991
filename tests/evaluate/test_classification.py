import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import roc_auc_score

from recsys.evaluate.classification import auc, binary_tasks, log_loss, reliability, user_auc


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 100_000), st.integers(2, 60), st.integers(1, 10))
def test_auc_equals_sklearn_with_ties_and_weights(seed: int, rows: int, levels: int):
    generator = np.random.default_rng(seed)
    labels, scores = generator.integers(0, 2, rows).astype(float), generator.integers(0, levels, rows) / 7
    weights = generator.uniform(0.1, 5, rows)
    if len(set(labels)) == 1:
        assert np.isnan(auc(labels, scores, weights))
        return
    assert auc(labels, scores, weights) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights), abs=1e-9)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)


def test_rows_without_a_label_change_nothing():
    generator = np.random.default_rng(0)
    labels, scores, weights = generator.integers(0, 2, 50).astype(float), generator.random(50), generator.random(50)
    masked = np.append(labels, [np.nan] * 20)
    noise, more = np.append(scores, generator.random(20)), np.append(weights, np.full(20, 9.0))
    assert auc(masked, noise, more) == auc(labels, scores, weights)
    assert log_loss(masked, noise, more) == log_loss(labels, scores, weights)
    assert reliability(masked, noise, more).expected_error == reliability(labels, scores, weights).expected_error


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000))
def test_user_auc_equals_auc_user_by_user(seed: int):
    generator = np.random.default_rng(seed)
    labels, scores = generator.integers(0, 2, 80).astype(float), generator.integers(0, 5, 80).astype(float)
    labels[generator.random(80) < 0.1] = np.nan
    users = generator.integers(100, 110, 80)
    distinct, values = user_auc(labels, scores, users)
    expected = [auc(labels[users == user], scores[users == user]) for user in distinct]
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_log_loss_equals_sklearn():
    generator = np.random.default_rng(3)
    labels, chance, weights = generator.integers(0, 2, 99).astype(float), generator.random(99), generator.random(99)
    assert log_loss(labels, chance, weights) == pytest.approx(sklearn_log_loss(labels, chance, sample_weight=weights))
    assert np.isfinite(log_loss(np.array([1.0]), np.array([0.0])))


def test_honest_probabilities_are_calibrated_and_inflated_ones_are_not():
    generator = np.random.default_rng(4)
    chance = generator.beta(0.3, 20, 200_000)
    labels = (generator.random(200_000) < chance).astype(float)
    honest, inflated = reliability(labels, chance), reliability(labels, np.minimum(1, 2 * chance))
    assert honest.expected_error < 0.001
    assert inflated.expected_error == pytest.approx(chance.mean(), rel=0.05)
    assert np.ptp(honest.rows) <= 2  # equal mass, though most probabilities are near 0
    assert (np.diff(honest.predicted) > 0).all()


def test_weights_undo_the_sampling_of_negatives():
    generator = np.random.default_rng(5)
    chance = np.full(100_000, 0.02)
    labels = (generator.random(100_000) < chance).astype(float)
    kept = (labels == 1) | (generator.random(100_000) < 0.1)
    weights = np.where(labels == 1, 1.0, 10.0)
    assert reliability(labels[kept], chance[kept]).expected_error > 0.1
    assert reliability(labels[kept], chance[kept], weights[kept]).expected_error < 0.003


def test_equal_probabilities_share_a_bin():
    found = reliability(np.array([0.0, 1, 0, 1]), np.full(4, 0.5), bins=10)
    assert found.rows.tolist() == [4]
    assert found.expected_error == 0


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="sigmoid"):
        log_loss(np.array([1.0]), np.array([2.5]))
    with pytest.raises(ValueError, match="0 or 1"):
        auc(np.array([2.0, 0.0]), np.array([0.1, 0.2]))
    with pytest.raises(ValueError, match="NaN"):
        auc(np.array([1.0, 0.0]), np.array([np.nan, 0.2]))


def test_tasks_are_measured_on_their_own_rows():
    generator = np.random.default_rng(6)
    labels = generator.integers(0, 2, (60, 3)).astype(float)
    labels[:, 2] = np.nan
    labels[:30, 1] = np.nan
    chance, users, weights = generator.random((60, 3)), generator.integers(0, 5, 60), np.ones(60)
    found = binary_tasks(("click", "buy", "never"), labels, chance, users, weights)
    assert found["buy"].rows == 30
    assert found["buy"].auc == pytest.approx(roc_auc_score(labels[30:, 1], chance[30:, 1]))
    assert found["click"].positives == labels[:, 0].sum()
    assert found["never"].rows == 0
    assert np.isnan(found["never"].auc)
    assert np.isnan(found["never"].calibration_error)
