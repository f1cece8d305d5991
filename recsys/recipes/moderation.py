"""A classifier of ads learnt from a review queue's labels, with or without regard to who was reviewed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.review import ReviewLog
from recsys.evaluate.soft import average_precision, recall_at_fpr, threshold_at_fpr
from recsys.heads.wide_deep import WideDeepCommittee
from recsys.losses.positive_unlabelled import NonNegativePU, SelectedPU
from recsys.losses.weighted import InversePropensity
from recsys.random import rng
from recsys.recipe import Metrics
from recsys.selection import PriorEstimator, PropensityModel, PseudoLabeler, covered
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import value
from recsys.worlds.world import World

HELD_OUT, FPR = 0.2, 0.01


class Rows(NamedTuple):
    """Training rows of one batch, or of all."""

    label: Tensor  # [B] from 0 to 1, NaN where nobody looked
    propensity: Tensor  # [B] chance of a look
    prior: Tensor  # [B] the share of positives among all rows, as estimated


class Objective(Protocol):
    """What is made of labels that only some rows have: a scalar, or [B] losses whose mean is the loss."""

    networks: ClassVar[int]

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor: ...


@value
class EveryRow:
    """Every row has a label, from people or from a teacher; a missing one makes the loss NaN."""

    networks: ClassVar[int] = 1

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor:
        return cross_entropy(logits[:, 0], rows.label)


@value
class Reviewed:
    """Only reviewed rows count: alike, or by the inverse of their chance to be reviewed."""

    weighted: InversePropensity | None = None
    networks: ClassVar[int] = 1

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor:
        seen = ~rows.label.isnan()
        losses = cross_entropy(logits[:, 0], rows.label.nan_to_num(0.0))
        even = InversePropensity(clip=1.0)
        return (self.weighted or even)(losses, seen, rows.propensity)


@value
class PositivesOnly:
    """Positive-unlabelled learning: reviewed violations against everything else; a reviewed clean ad says nothing."""

    selected: SelectedPU | None = None  # None: nnPU, positives selected completely at random
    networks: ClassVar[int] = 1

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor:
        positive = rows.label > 0.5
        if self.selected is not None:
            return self.selected(logits[:, 0], positive, rows.propensity)
        return NonNegativePU(prior=float(rows.prior[0]))(logits[:, 0], positive)


@dataclass(frozen=True)
class Moderator:
    """A trained classifier, and how its training labels came about."""

    trained: Fitted
    targets: Tensor  # [N] what it was trained towards, NaN where a row had no say


@value
class Moderation:
    """Learn with an objective from the queue's labels; with the audit's; with a teacher's for everybody else."""

    world: World
    objective: Any = Reviewed()  # an Objective
    audit: bool = False  # the audit's labels are learnt from, too
    estimated: bool = False  # propensities are estimated from the words instead of read from the queue's log
    student: bool = False  # what was learnt is the teacher of a second model, trained on all rows
    ceiling: bool = False  # scored from the truth
    head: WideDeepCommittee = WideDeepCommittee()
    labeler: PseudoLabeler = PseudoLabeler()
    train: Fit = Fit(steps=500, batch=512, learning_rate=3e-3, weight_decay=4.0)

    def fit(self, logs: Any, seed: int) -> Moderator:
        if self.ceiling:
            model = self.head.build(logs.counts.shape[1], 0.0, seed)
            return Moderator(Fitted(model.eval(), (), 0), logs.label)
        rows = self.rows(logs)
        first = self._train(logs, rows, self.objective, seed)
        if not self.student:
            return Moderator(first, rows.label)
        soft = self.labeler(rows.label, self.logits(first.model, logs.counts))
        second = self._train(logs, rows._replace(label=soft), EveryRow(), seed)
        return Moderator(second, soft)

    def rows(self, logs: Any) -> Rows:
        """Labels and propensities of the logged ads, as this recipe knows them."""
        audited = logs.audited if self.audit else torch.zeros_like(logs.audited)
        label = torch.where(audited, logs.audit_label, logs.label)
        queue = logs.propensity
        if self.estimated:
            features = torch.cat([logs.counts.clamp(max=1), (logs.legacy_score > 0)[:, None]], 1)
            queue = PropensityModel()(features, logs.queued)
        prior = PriorEstimator()(logs.queued, logs.label, logs.audit_label).share
        propensity = covered(queue, logs.audit_rate) if self.audit else queue
        return Rows(label, propensity, torch.full_like(propensity, min(max(prior, 1e-3), 0.9)))

    def _train(self, logs: Any, rows: Rows, objective: Objective, seed: int) -> Fitted:
        held = torch.from_numpy(rng(seed, "held out").random(len(rows.label)) < HELD_OUT)
        features, kept = logs.counts.log1p(), torch.where(~held)[0]
        prior = float(rows.prior[0])
        head = WideDeepCommittee(hidden=self.head.hidden, networks=objective.networks)
        model = head.build(features.shape[1], float(np.log(prior / (1 - prior))), seed)

        def loss(model: nn.Module, x: Tensor, *given: Tensor) -> Tensor:
            return objective(model(x), Rows(*given)).mean()

        columns = (features[kept], *(column[kept] for column in rows))
        return self.train(model, Lesson(columns, loss, validation(logs, held)), seed)

    def logits(self, model: nn.Module, counts: Tensor) -> Tensor:
        """[N] mean logits of the networks."""
        with torch.no_grad():
            return model(counts.log1p()).mean(1)

    def evaluate(self, fitted: Moderator, logs: Any, truth: Any) -> Metrics:
        """Expected over the labels of the fresh ads: average precision, recall at 1 % false alarms, mean score."""
        chance = truth.chance.double().numpy()
        yes = chance.sum(1)
        score = yes if self.ceiling else torch.sigmoid(self.logits(fitted.trained.model, logs.fresh)).double().numpy()
        evasive, obvious = chance[:, 1:].sum(1), chance[:, 0]
        level = threshold_at_fpr(score, 1 - yes, FPR)
        return {
            "ap": average_precision(score, yes, 1 - yes),
            "recall@1%fpr": recall_at_fpr(score, yes, 1 - yes, FPR),
            "recall@1%fpr[evasive]": float(evasive[score >= level].sum() / evasive.sum()),
            "recall@1%fpr[obvious]": float(obvious[score >= level].sum() / obvious.sum()),
            "predicted/true": float(score.mean() / yes.mean()),
            **fitted.trained.stats(),
        }

    def evidence(self, fitted: Moderator, logs: Any, seed: int) -> Evidence:
        """The review log as it is, beside what the model says of the same ads."""
        del seed
        score = torch.sigmoid(self.logits(fitted.trained.model, logs.counts))
        return Evidence.of(
            ReviewLog(
                prediction=score.double().numpy(),
                queue_score=logs.legacy_score.double().numpy(),
                queued=logs.queued.numpy(),
                label=logs.label.double().numpy(),
                audit_label=logs.audit_label.double().numpy(),
                second=logs.second.double().numpy(),
            )
        )


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def validation(logs: Any, held: Tensor) -> Any:
    """Average precision on held-out reviewed and audited ads, each for as many as its logged propensity stands for."""
    label = torch.where(logs.audited, logs.audit_label, logs.label)
    some = held & ~label.isnan()
    y = label[some].double().numpy()
    weight = 1 / covered(logs.propensity, logs.audit_rate)[some].double().numpy()
    features = logs.counts[some].log1p()

    def score(model: nn.Module) -> float:
        return average_precision(model(features).mean(1).double().numpy(), weight * y, weight * (1 - y))

    return score
