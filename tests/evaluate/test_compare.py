import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recsys.evaluate.compare import Bootstrap, auc_difference, auc_intervals, intervals, paired_difference

BOOTSTRAP = Bootstrap(resamples=400)


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(3, 2, (2000, 1))
    found = intervals(values, Bootstrap(resamples=4000))[0]
    spread = 1.96 * values.std() / np.sqrt(2000)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - spread, abs=0.01)
    assert found.high == pytest.approx(values.mean() + spread, abs=0.01)


def test_intervals_cover_the_truth_as_often_as_they_say():
    hits = 0
    for seed in range(300):
        values = np.random.default_rng(seed).exponential(1, (80, 1))
        found = intervals(values, Bootstrap(resamples=300, seed=seed))[0]
        hits += found.low <= 1 <= found.high
    assert 0.89 <= hits / 300 <= 0.98


def test_users_without_a_value_are_left_out_and_counted():
    values = np.random.default_rng(1).random((100, 2))
    values[:40, 1] = np.nan
    first, second = intervals(values, BOOTSTRAP)
    assert (first.users, second.users) == (100, 60)
    assert second.mean == pytest.approx(values[40:, 1].mean())
    nobody = intervals(np.full((5, 1), np.nan), BOOTSTRAP)[0]
    assert nobody.users == 0
    assert np.isnan(nobody.mean)
    assert intervals(np.zeros((0, 1)), BOOTSTRAP)[0].users == 0


def test_the_same_seed_gives_the_same_interval_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    values = np.random.default_rng(2).random((50, 1))
    first = intervals(values, BOOTSTRAP)
    monkeypatch.setattr("recsys.evaluate.compare.CHUNK", 70)
    (again,) = intervals(values, BOOTSTRAP)  # products of other sizes may end in other bits
    assert (again.mean, again.low, again.high) == pytest.approx((first[0].mean, first[0].low, first[0].high), rel=1e-12)
    assert intervals(values, Bootstrap(resamples=400, seed=1))[0].low != pytest.approx(first[0].low, rel=1e-6)


def test_pairing_sees_a_small_difference_that_single_intervals_hide():
    generator = np.random.default_rng(3)
    theirs = generator.random(400)
    ours = theirs + 0.01 + generator.normal(0, 0.02, 400)
    difference = paired_difference(ours, theirs, BOOTSTRAP)
    assert difference.clears(0)
    low, high = intervals(np.stack([theirs, ours], 1), BOOTSTRAP)
    assert low.high > high.low
    ours[:100] = np.nan
    assert paired_difference(ours, theirs, BOOTSTRAP).users == 300


def test_auc_is_resampled_by_user():
    generator = np.random.default_rng(4)
    mood = generator.random(50) < 0.5
    # every row of a user is the same: 50 users are 50 observations, not 2,000
    users = np.repeat(np.arange(50), 40)
    labels, scores = mood[users].astype(float), (mood * 0.8 + generator.normal(0, 1, 50))[users]
    found = auc_intervals(labels, scores[:, None], users, BOOTSTRAP)[0]
    rows = auc_intervals(labels, scores[:, None], np.arange(2000), BOOTSTRAP)[0]
    assert found.mean == rows.mean == pytest.approx(roc_auc_score(labels, scores))
    assert found.high - found.low > 3 * (rows.high - rows.low)


def test_auc_interval_equals_a_loop_that_repeats_rows():
    generator = np.random.default_rng(5)
    users = generator.integers(0, 12, 150)
    labels, scores = generator.integers(0, 2, 150).astype(float), generator.integers(0, 9, 150).astype(float)
    weights, bootstrap = generator.uniform(0.5, 3, 150), Bootstrap(resamples=60)
    found = auc_intervals(labels, scores[:, None], users, bootstrap, weights)[0]
    distinct = np.unique(users)
    looped = []

    def repeat(times: np.ndarray) -> np.ndarray:
        for drawn in times:
            rows = np.concatenate(
                [np.flatnonzero(users == user) for user, n in zip(distinct, drawn, strict=True) for _ in range(int(n))]
            )
            looped.append(roc_auc_score(labels[rows], scores[rows], sample_weight=weights[rows]))
        return times

    bootstrap.draws(len(distinct)).map(repeat)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(looped, [0.025, 0.975])))


def test_auc_difference_is_paired():
    generator = np.random.default_rng(6)
    users, labels = generator.integers(0, 200, 4000), generator.integers(0, 2, 4000).astype(float)
    theirs = labels + generator.normal(0, 2, 4000)
    ours = theirs + 0.15 * labels
    found = auc_difference(labels, ours, theirs, users, BOOTSTRAP)
    assert found.mean == pytest.approx(roc_auc_score(labels, ours) - roc_auc_score(labels, theirs))
    assert found.clears(0)


def test_knobs_are_checked():
    with pytest.raises(ValueError, match="resamples"):
        Bootstrap(resamples=1)
    with pytest.raises(ValueError, match="level"):
        Bootstrap(level=95.0)
