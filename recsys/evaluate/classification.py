"""Does a predicted probability order the rows, and is it the share that really happens?

Labels are 0 or 1, and NaN where a task has no answer for a row: such rows are left out. Weights are the inverse of the
probability that a row was kept; they default to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.value import require

NAN = float("nan")


def auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The chance that a row with label 1 scores above one with label 0, equal scores counting half.

    The area under the ROC curve; NaN when one of the classes has no weight.
    """
    known = ~np.isnan(labels)
    weights = np.ones(len(labels)) if weights is None else weights
    nobody = np.zeros(int(known.sum()), np.int64)
    return float(UserAuc.prepare(labels[known], scores[known], nobody, weights[known])(np.ones((1, 1)))[0])


@dataclass(frozen=True, slots=True)
class UserAuc:
    """AUC over all rows as a function of how much each user counts: what resampling users asks a thousand times.

    Negatives are summed between the distinct scores of positives, so a call is two sparse products.
    """

    positive: sp.csr_matrix  # [G, U] weight of each user's positives at the G distinct scores of positives, rising
    below: sp.csr_matrix  # [G, U] weight of each user's negatives above the score before and below this one
    tied: sp.csr_matrix  # [G, U] weight of each user's negatives at this score
    total: np.ndarray  # [U] weight of each user's negatives

    @classmethod
    def prepare(cls, labels: np.ndarray, scores: np.ndarray, user: np.ndarray, weights: np.ndarray) -> UserAuc:
        """labels [R] 0 or 1, scores [R], user [R] places 0.., weights [R]. Raises ValueError for NaN or other labels."""
        require(len(labels) == len(scores), f"{len(labels)} labels for {len(scores)} scores")
        require(bool(np.isin(labels, (0, 1)).all()), "labels must be 0 or 1: mask NaN labels out first")
        require(not np.isnan(scores).any(), "scores hold NaN: AUC needs an order")
        num_users = int(user.max(initial=0)) + 1
        yes = labels == 1
        levels, level = np.unique(scores[yes], return_inverse=True)
        place = np.searchsorted(levels, scores[~yes])
        equal = np.append(levels, np.nan)[place] == scores[~yes]
        inside = (place < len(levels)) & ~equal
        owner, weight = user[~yes], weights[~yes].astype(np.float64)
        shape = (len(levels), num_users)
        return cls(
            sp.csr_matrix((weights[yes].astype(np.float64), (level, user[yes])), shape=shape),
            sp.csr_matrix((weight[inside], (place[inside], owner[inside])), shape=shape),
            sp.csr_matrix((weight[equal], (place[equal], owner[equal])), shape=shape),
            np.bincount(owner, weight, minlength=num_users),
        )

    def __call__(self, times: np.ndarray) -> np.ndarray:
        """times [r, U], how often each user counts -> AUC [r]."""
        drawn = np.ascontiguousarray(times.T)
        positive, tied = self.positive @ drawn, self.tied @ drawn  # [G, r]
        worse = np.cumsum(self.below @ drawn + tied, axis=0) - tied / 2
        pairs = positive.sum(0) * (times @ self.total)
        return np.where(pairs > 0, (positive * worse).sum(0) / np.where(pairs > 0, pairs, 1), np.nan)


def user_auc(labels: np.ndarray, scores: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC within each user: (distinct users [U], AUC [U]), NaN for users whose rows are all of one class.

    Its mean (Zhu et al., 2017, GAUC) isn't moved by how much more some users take than others.
    """
    known = ~np.isnan(labels)
    distinct, user = np.unique(users[known], return_inverse=True)
    labels, scores = labels[known].astype(np.float64), scores[known]
    order = np.lexsort((scores, user))
    user, labels, scores = user[order], labels[order], scores[order]
    # mid-ranks within each user, from the places where groups of equal (user, score) begin and end
    change = np.append(True, (user[1:] != user[:-1]) | (scores[1:] != scores[:-1])) if len(user) else np.zeros(0, bool)
    group = change.cumsum() - 1
    starts = np.flatnonzero(change)
    stops = np.append(starts[1:], len(user))
    first_row = np.searchsorted(user, np.arange(len(distinct)))
    rank = ((starts + stops + 1) / 2)[group] - first_row[user]
    total = np.bincount(user, minlength=len(distinct))
    positives = np.bincount(user, labels, minlength=len(distinct))
    pairs = positives * (total - positives)
    wins = np.bincount(user, rank * labels, minlength=len(distinct)) - positives * (positives + 1) / 2
    return distinct, np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1), np.nan)


def log_loss(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean of -log of the probability given to what happened, natural logarithm; NaN without labelled rows."""
    label, chance, weight = _known(labels, probabilities, weights)
    if not len(label):
        return NAN
    chance = np.clip(chance, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    loss = -(label * np.log(chance) + (1 - label) * np.log1p(-chance))
    return float(np.average(loss, weights=weight))


@dataclass(frozen=True, slots=True)
class Reliability:
    """What was promised and what happened, in bins of equal weight from the lowest to the highest probability."""

    predicted: np.ndarray  # [bins] mean probability
    observed: np.ndarray  # [bins] share of label 1
    weight: np.ndarray  # [bins] total weight
    rows: np.ndarray  # [bins] int64

    @property
    def expected_error(self) -> float:
        """Expected calibration error: |predicted - observed|, averaged by weight."""
        if not self.weight.sum():
            return NAN
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.weight))


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None, bins: int = 15
) -> Reliability:
    """Bins of equal mass (Nixon et al., 2019): with equal widths a rare task has all its rows in the first bin.

    Rows of equal probability share a bin, so fewer bins than asked for may come back.
    """
    label, chance, weight = _known(labels, probabilities, weights)
    order = np.argsort(chance, kind="stable")
    label, chance, weight = label[order], chance[order], weight[order]
    # a group of equal probabilities goes where its middle falls
    _, first, group = np.unique(chance, return_index=True, return_inverse=True)
    mass = np.add.reduceat(weight, first) if len(first) else np.zeros(0)
    middle = (mass.cumsum() - mass / 2) / max(mass.sum(), np.finfo(float).tiny)
    _, place = np.unique(np.minimum((middle * bins).astype(int), bins - 1), return_inverse=True)
    place = place[group]
    total, rows = np.bincount(place, weight), np.bincount(place)
    return Reliability(
        np.bincount(place, weight * chance) / total, np.bincount(place, weight * label) / total, total, rows
    )


@dataclass(frozen=True, slots=True)
class TaskQuality:
    """How well one binary task is predicted."""

    rows: int
    positives: int
    auc: float
    user_auc: float
    log_loss: float
    calibration_error: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def binary_tasks(
    names: Sequence[str], labels: np.ndarray, probabilities: np.ndarray, users: np.ndarray, weights: np.ndarray
) -> dict[str, TaskQuality]:
    """Quality of each binary task; labels and probabilities [R, T], NaN for no answer; users and weights [R]."""
    found = {}
    for t, name in enumerate(names):
        label, chance = labels[:, t], probabilities[:, t]
        within = user_auc(label, chance, users)[1]
        found[name] = TaskQuality(
            rows=int((~np.isnan(label)).sum()),
            positives=int(np.nansum(label)),
            auc=auc(label, chance, weights),
            user_auc=float(np.nanmean(within)) if np.isfinite(within).any() else NAN,
            log_loss=log_loss(label, chance, weights),
            calibration_error=reliability(label, chance, weights).expected_error,
        )
    return found


def _known(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with a label, in float64. Raises ValueError for what isn't a probability."""
    known = ~np.isnan(labels)
    chance = probabilities[known].astype(np.float64)
    outside = ~((chance >= 0) & (chance <= 1))
    require(not outside.any(), f"probability {chance[outside][:1]} is outside 0..1: apply the sigmoid to logits first")
    weight = np.ones(len(chance)) if weights is None else weights[known].astype(np.float64)
    return labels[known].astype(np.float64), chance, weight
