"""Does a model believe that what nobody reviewed is clean, and whom does the review miss?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row, strongest
from recsys.evaluate.classification import auc
from recsys.selection import Prior, PriorEstimator
from recsys.value import require, value

SELECTED, RANDOM, NOISE = "selected_review", "random_review", "reviewer_noise"


@dataclass(frozen=True)
class ReviewLog(Part):
    """One row an example that the review queue could have taken, with the model's score of it. All arrays are [N].

    Labels are 1 (violating), 0 (clean) and NaN where nobody gave one. `audit_label` is from rows drawn at random,
    whatever the queue did; without a single one nothing can be said of what the queue left. `second` is another
    reviewer's blind label of some reviewed rows; leave it None where there is none. `queue_score` is what the queue is
    sorted by, or the score of a model of being reviewed where that isn't known.
    """

    prediction: np.ndarray  # probability of a violation by the model under suspicion
    queue_score: np.ndarray
    queued: np.ndarray  # bool, reviewed because the queue took it
    label: np.ndarray
    audit_label: np.ndarray
    second: np.ndarray | None = None

    def __post_init__(self) -> None:
        sizes = {name: len(held) for name, held in vars(self).items() if held is not None}
        require(len(set(sizes.values())) == 1, f"all columns have one row an example, got {sizes}")


@value
class ReviewAudit:
    """Names hidden positives that a model takes for clean, by how they were missed, and reviewers who disagree.

    - `hidden`: the share of all positives that the queue left, by the audit of what it left; its one-sided 95 % lower
      bound must pass 0.1, below which labels of everybody and the queue's labels hardly differ. Where the bounds lie
      on both sides of 0.1 and the upper one above three times that, the audit is too small to say.
    - `swallowed`: 1 - (predicted positives - found ones) / hidden ones is 1 for a model that takes the unreviewed for
      clean and 0 for one that counts them; 0.5 is the middle, no fit.
    - `uneven`: mean e x mean 1/e over found positives, e the review rate at their score, is 1 when review doesn't
      depend on the score (SCAR) and grows with the spread of e; 1.25 lay between 1.0 and 1.5 (half of the selection's
      logit) on development seeds.
    - `kappa`: agreement of two reviewers beyond chance, one-sided 95 % upper bound; 0.8 is where Landis & Koch (1977)
      put "almost perfect".
    """

    hidden: float = 0.1
    swallowed: float = 0.5
    uneven: float = 1.25
    kappa: float = 0.8
    z: float = 1.645
    levels: int = 20
    needs: ClassVar[tuple[type[Part], ...]] = (ReviewLog,)
    causes: ClassVar[tuple[str, ...]] = (SELECTED, RANDOM, NOISE)

    def __call__(self, evidence: Evidence) -> Diagnosis:
        log = evidence.get(ReviewLog)
        left = ~log.queued & ~np.isnan(log.audit_label)
        if not left.any() and not log.queued.all():
            return self._abstain(
                (Row("audited rows that the queue left", 0.0, 1.0, "none: nothing is known of them"),), 0.0
            )
        prior = PriorEstimator()(*(torch.as_tensor(held) for held in (log.queued, log.label, log.audit_label)))
        found = float(np.nansum(log.label[log.queued]))
        missed = prior.hidden * prior.share * len(log.queued)
        swallowed = 1 - (float(log.prediction.sum()) - found) / missed if missed > 0 else 0.0
        uneven = unevenness(log, self.levels)
        agreement, error = kappa(log.label, log.second)
        rows = self._rows(log, prior, swallowed, uneven, agreement)
        low, high = prior.hidden - self.z * prior.hidden_error, prior.hidden + self.z * prior.hidden_error
        scores = dict.fromkeys(self.causes, 0.0)
        if low > self.hidden and swallowed > self.swallowed:
            scores[SELECTED if uneven > self.uneven else RANDOM] = low / self.hidden
        if agreement + self.z * error < self.kappa:
            scores[NOISE] = self.kappa / max(agreement, 0.05)
        cause = strongest(scores)
        if cause == HEALTHY and low <= self.hidden and high > 3 * self.hidden:
            return self._abstain(rows, prior.share)
        return Diagnosis(cause, scores, rows, rejected=self._rejected(cause, prior, swallowed, uneven, agreement))

    def _rows(self, log: ReviewLog, prior: Prior, swallowed: float, uneven: float, agreement: float) -> tuple[Row, ...]:
        ratio = float(log.prediction.mean()) / max(prior.share, 1e-12)
        picks = auc(log.queued.astype(float), log.queue_score)
        return (
            Row("share of positives never reviewed", prior.hidden, self.hidden, "how much the labels hide"),
            Row(
                "share of those that the model takes for clean", swallowed, self.swallowed, "1: unreviewed means clean"
            ),
            Row("mean score over prevalence by the audit", ratio, None, "below 1: taught that the missed are clean"),
            Row("AUC of the queue's score for being reviewed", picks, None, "0.5: review doesn't follow the score"),
            Row("unevenness of review among found positives", uneven, self.uneven, "1: selected at random (SCAR)"),
            Row("agreement of two reviewers (kappa)", agreement, self.kappa, "below: the labels themselves are noisy"),
        )

    def _rejected(self, cause: str, prior: Prior, swallowed: float, uneven: float, agreement: float) -> dict[str, str]:
        why = {
            NOISE: f"two reviewers agree with kappa {agreement:.2f}",
            RANDOM: f"review follows the score: unevenness {uneven:.2f}",
            SELECTED: f"review hardly follows the score: unevenness {uneven:.2f}",
        }
        if cause not in (SELECTED, RANDOM):
            why[SELECTED] = why[RANDOM] = (
                f"{prior.hidden:.0%} of the positives are hidden, of which the model takes {swallowed:.0%} for clean"
            )
        return {rival: reason for rival, reason in why.items() if rival != cause}

    def _abstain(self, rows: tuple[Row, ...], share: float) -> Diagnosis:
        size = f"about {20 / share:.0f} ads" if share > 0 else "enough ads for 20 violations"
        text = f"audit {size} drawn at random from those that the queue left, and diagnose again"
        return Diagnosis(ABSTAIN, dict.fromkeys(self.causes, 0.0), rows, next_experiment=text)


def unevenness(log: ReviewLog, levels: int) -> float:
    """Mean review rate x mean of its inverse over the found positives: 1 where it is the same for all of them."""
    found = log.queued & (log.label == 1)
    if not found.any():
        return 1.0
    edges = np.unique(np.quantile(log.queue_score, np.linspace(0, 1, levels + 1)))
    place = np.searchsorted(edges, log.queue_score, side="left")  # the lowest score has a level of its own
    rate = np.bincount(place, log.queued) / np.maximum(np.bincount(place), 1)
    chance = rate[place][found]
    return float(chance.mean() * (1 / chance).mean())


def kappa(first: np.ndarray, second: np.ndarray | None) -> tuple[float, float]:
    """Cohen's kappa (1960) of rows that both labelled and its standard error; (1, 0) where it isn't defined."""
    both = np.zeros(len(first), bool) if second is None else ~np.isnan(first) & ~np.isnan(second)
    if second is None or both.sum() < 2:
        return 1.0, 0.0
    a, b = first[both], second[both]
    agree, chance = float((a == b).mean()), float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    if chance >= 1:
        return 1.0, 0.0
    return (agree - chance) / (1 - chance), (agree * (1 - agree) / both.sum()) ** 0.5 / (1 - chance)
