"""A mean without an interval is a rumour: users are resampled, and methods are compared on the same users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsys.evaluate.classification import UserAuc
from recsys.random import rng
from recsys.value import require, value

CHUNK = 4_000_000  # resampled entries held at a time


@value
class Bootstrap:
    """Percentile intervals from users drawn with replacement (Efron, 1979); the same draws for every method."""

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.resamples >= 2, f"resamples must be at least 2, got {self.resamples}")
        require(0 < self.level < 1, f"level must be between 0 and 1, such as 0.95, got {self.level}")

    def draws(self, num_users: int) -> _Draws:
        return _Draws(self, num_users)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate over users, and where it would lie had other users of the same kind been asked."""

    mean: float
    low: float
    high: float
    users: int  # with a value; users without positives are not among them

    def clears(self, bound: float) -> bool:
        """Whether the whole interval lies above the bound."""
        return self.low > bound


@dataclass(frozen=True, slots=True)
class _Draws:
    """How often each user is drawn, resample by resample, a few resamples at a time."""

    bootstrap: Bootstrap
    num_users: int

    def map(self, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """statistic(times drawn [r, U]) -> [r, M], for all resamples: [resamples, M]."""
        generator = rng(self.bootstrap.seed, "bootstrap")
        step = max(1, CHUNK // max(1, self.num_users))
        found = []
        for start in range(0, self.bootstrap.resamples, step):
            rows = min(step, self.bootstrap.resamples - start)
            drawn = generator.integers(self.num_users, size=(rows, self.num_users))
            drawn += np.arange(rows)[:, None] * self.num_users
            times = np.bincount(drawn.reshape(-1), minlength=rows * self.num_users).reshape(rows, -1)
            found.append(statistic(times.astype(np.float64)))
        return np.concatenate(found)


def intervals(values: np.ndarray, bootstrap: Bootstrap) -> list[Interval]:
    """One interval for each column of values [U, M]; NaN where a user has no value."""
    known = np.isfinite(values)
    users = known.sum(0)
    filled = np.where(known, values, 0.0)

    def means(times: np.ndarray) -> np.ndarray:
        return (times @ filled) / np.maximum(times @ known, 1)

    found = bootstrap.draws(len(values)).map(means) if len(values) else np.zeros((2, values.shape[1]))
    mean = filled.sum(0) / np.maximum(users, 1)
    return [_interval(mean[m], found[:, m], int(users[m]), bootstrap) for m in range(values.shape[1])]


def paired_difference(ours: np.ndarray, theirs: np.ndarray, bootstrap: Bootstrap) -> Interval:
    """Mean of ours - theirs over the users where both have a value; [U] each, rows being the same users."""
    require(ours.shape == theirs.shape, f"paired values must be of the same users: {ours.shape} and {theirs.shape}")
    return intervals((ours - theirs)[:, None], bootstrap)[0]


def auc_intervals(
    labels: np.ndarray,
    scores: np.ndarray,
    users: np.ndarray,
    bootstrap: Bootstrap,
    weights: np.ndarray | None = None,
) -> list[Interval]:
    """AUC of each column of scores [R, M], whole users being resampled with all their rows.

    labels [R] 0 or 1, users [R] any integers, weights [R], 1 when left out. Rows of a user depend on each other;
    resampling rows would give intervals that are too narrow.
    """
    found, point, num_users = _resampled_auc(labels, scores, users, bootstrap, weights)
    return [_interval(point[m], found[:, m], num_users, bootstrap) for m in range(len(point))]


def auc_difference(
    labels: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray,
    users: np.ndarray,
    bootstrap: Bootstrap,
    weights: np.ndarray | None = None,
) -> Interval:
    """AUC of ours minus AUC of theirs on the same rows [R], whole users being resampled."""
    found, point, num_users = _resampled_auc(labels, np.stack([ours, theirs], 1), users, bootstrap, weights)
    return _interval(point[0] - point[1], found[:, 0] - found[:, 1], num_users, bootstrap)


def _resampled_auc(
    labels: np.ndarray, scores: np.ndarray, users: np.ndarray, bootstrap: Bootstrap, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, int]:
    distinct, user = np.unique(users, return_inverse=True)
    weight = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    columns = [UserAuc.prepare(labels, scores[:, m], user, weight) for m in range(scores.shape[1])]
    step = max(1, CHUNK // max(1, int(labels.sum())))

    def aucs(times: np.ndarray) -> np.ndarray:
        few = [times[start : start + step] for start in range(0, len(times), step)]
        return np.concatenate([np.stack([column(drawn) for column in columns], 1) for drawn in few])

    point = aucs(np.ones((1, len(distinct))))[0]
    return bootstrap.draws(len(distinct)).map(aucs), point, len(distinct)


def _interval(mean: float, found: np.ndarray, users: int, bootstrap: Bootstrap) -> Interval:
    if not users or not np.isfinite(mean):
        return Interval(float("nan"), float("nan"), float("nan"), users)
    outside = (1 - bootstrap.level) / 2
    low, high = np.nanquantile(found, [outside, 1 - outside])
    return Interval(float(mean), float(low), float(high), users)
