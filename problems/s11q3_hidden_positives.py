"""Ads that are "clean" only because nobody reviewed them

Question
--------
Policy violations are reviewed by human moderators. Most examples labeled as "clean" are never manually reviewed. You
suspect some positives are missed. How would you modify your training setup or model to handle this label noise?

Answer
------
1. This isn't noise: it is selection. "Clean" holds two things, ads that a moderator cleared and ads that nobody saw.
   Keep them apart: the label of an unreviewed ad is missing, and beside each reviewed one stands the chance with which
   the queue took it, e(x). Where e(x) follows an old rule or user reports, the violations that the rule doesn't know
   are the ones that are missing (selected at random given the features, SAR), and a model that takes the unreviewed
   for clean learns the rule again.
2. Ask first which selection it is. If violations are reviewed completely at random (SCAR), the naive scores are the
   true ones times a constant (Elkan & Noto, 2008): the order is right and only the level is wrong; nnPU (Kiryo et al.,
   2017) with the right prior repairs the level. Under SAR nnPU is as blind as the baseline, since its positives are
   the rule's positives. Reweighting the positives alone by 1/e (Bekker et al., 2019) is unbiased and has a variance
   that makes it useless: every weighted positive is also a negative of weight 1 - 1/e.
3. A moderator's verdict is a label of either class, so learn from reviewed ads, not from positives against the rest:
   reviewed rows only, weighted by the clipped and self-normalised 1/e(x). That is a mean over all ads, as long as
   e(x) > 0 everywhere.
4. Buy the overlap: a small random audit, one or two per cent of the ads. It holds the violations that no rule knows,
   and gives the class prior, the calibration and the only unbiased test. Of everything here this moves the most.
5. Then use the ads nobody reviewed: the model of step 3 and 4 is a teacher that gives them soft labels; a student
   learns from people's labels where there are any and from the teacher's where there are none. Its reviewed rows count
   once instead of twenty-five times, which takes the variance out of the weights, and it is calibrated.
6. Robust losses are the wrong tool. Generalised cross entropy, label smoothing and co-teaching (Han et al., 2018)
   assume that wrong labels are few in each class and look like noise. Here nearly all labels of the missed styles are
   wrong in the same direction, and the rare class is what a robust loss ignores first. They are for moderators who
   err: find those by blind second reviews, and weight or re-review what is disputed.
7. Close the loop: the queue draws with known probabilities, by expected harm and uncertainty, keeps a share for random
   ads, and logs e(x) (`recsys/samplers/review.py`), so that next month's training set can be weighted at all.
8. Evaluate on the audit, or on reviewed ads weighted by 1/e, never on reviewed ads as they come; report recall on the
   slices that the queue rarely reaches. Split the audit: rows that were trained on can't test.

Symptom
-------
A world of ads as bags of words. A few of them violate, in four styles, of which an old rule knows one. The queue takes
most ads on which the rule fires and few others, so that most violations were never looked at. Taking the unreviewed
for clean costs most of the recall on the styles that the rule doesn't know, at the same rate of false alarms, while
recall on the rule's own style looks splendid; and the scores are too small by the share of violations that are hidden.
Measured against the same model trained on the same ads with everything reviewed.

Diagnosis
---------
From the review log and a random audit. How many violations did the queue leave (audit positives among what it left,
scaled up)? Does the model count them: is the sum of its scores nearer to the violations found or to all of them? Does
the chance of review vary among found violations (mean e times mean 1/e; one under SCAR)? Do blind second reviews agree
(kappa)? The four separate `selected_review`, `random_review`, `reviewer_noise` and health, and a model that has been
cured from a queue that hasn't. An audit too small to tell makes it abstain and ask for a larger one.

Remedy
------
The soft-label student of an inverse-propensity teacher with the audit, against the baseline, on average precision and
on recall of the rule's blind styles. Beside it each ingredient: reviewed rows only, propensities from the log or
estimated, the audit weighted or unweighted. Then the popular remedies that must not pass the same bar here: nnPU, SAR
reweighting of positives, generalised cross entropy, label smoothing, co-teaching.

Guard
-----
Recall on the style that the rule knows, against the model trained on clean labels, and the level of the scores.

Control
-------
With everything reviewed the student is the baseline: nothing to weight, nothing to fill in. With review at random the
baseline's order is nearly right and nnPU repairs its level, which is the regime that nnPU was made for. The sweep goes
from one to the other. The baseline's recall on the rule's style is a control as well: at a fixed rate of false alarms
its whole budget went there, so a model that finds the other styles gives some of it back, and the claim bounds how much.

Cost
----
The same network serves, so serving costs nothing more. Training costs a second fit for the student. The price is in
people: the audit's reviews are drawn at random, and most of them find nothing.

Apply
-----
`recipe(objective=..., audited=..., estimated=..., student=...)` on your own log: word counts or any features, label NaN
where nobody looked, the queue's logged chance (or `estimated=True`, which fits it to what was known before review;
never give it the label), the audit's labels apart. The detector needs a `ReviewLog`: the model's score, what the queue
is sorted by, who was queued, their labels, the audit's labels, and second reviews if there are any.

What didn't work
----------------
Weighting doesn't help the order: unweighted reviewed rows plus the audit rank as well as anything, because the network
can express the truth and needs no weights to find it, but their scores are too high, as reviewed ads are. Weights buy
the level, the audit buys the missed styles. Co-teaching throws away the violations first: their losses are the highest.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from recsys.claims.kinds import Keeps, Moves, Reaches, Recovers
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.review import NOISE, RANDOM, SELECTED, ReviewAudit
from recsys.losses.positive_unlabelled import SelectedPU
from recsys.losses.robust import CoTeaching, GeneralisedCrossEntropy, SmoothedCrossEntropy
from recsys.losses.weighted import InversePropensity
from recsys.recipes.moderation import Moderation, PositivesOnly, Reviewed, Rows, cross_entropy
from recsys.train.fit import Fit
from recsys.value import value
from recsys.worlds.policy_ads import PolicyAds


@value
class AssumeClean:
    """Whoever wasn't reviewed is taken to be clean."""

    loss: GeneralisedCrossEntropy | SmoothedCrossEntropy | None = None  # None: cross entropy
    networks: ClassVar[int] = 1

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor:
        return (self.loss or cross_entropy)(logits[:, 0], rows.label.nan_to_num(0.0))


@value
class Taught:
    """The same by two networks, each told by the other which labels to believe."""

    co_teaching: CoTeaching = CoTeaching(forget=0.04)
    networks: ClassVar[int] = 2

    def __call__(self, logits: Tensor, rows: Rows) -> Tensor:
        labels = rows.label.nan_to_num(0.0)[:, None].expand_as(logits)
        return self.co_teaching(cross_entropy(logits, labels)) / self.networks


NAIVE = AssumeClean()


def recipe(
    *,
    objective: Any = NAIVE,
    audited: bool = False,
    estimated: bool = False,
    student: bool = False,
    learning_rate: float = 3e-3,
    weight_decay: float = 4.0,
    **world: Any,
) -> Moderation:
    fit = Fit(steps=500, batch=512, learning_rate=learning_rate, weight_decay=weight_decay)
    return Moderation(
        world=PolicyAds(**world), objective=objective, audit=audited, estimated=estimated, student=student, train=fit
    )


def ceiling(**given: Any) -> Moderation:
    """The exact posterior in place of a model."""
    return replace(recipe(**given), ceiling=True)


def reviewed_all(**given: Any) -> Moderation:
    """The same ads, every one of them reviewed without error: what labels could teach at most."""
    return recipe(**{**given, "coverage": 1.0, "reviewer_error": 0.0})


AP, EVASIVE, OBVIOUS, LEVEL = "ap", "recall@1%fpr[evasive]", "recall@1%fpr[obvious]", "predicted/true"
WEIGHTED = Reviewed(weighted=InversePropensity(clip=50.0))
RIVALS = ("nnpu", "sar_pu", "gce", "smoothing", "co_teaching")

PROBLEM = Problem(
    title="Clean means never reviewed: hidden positives",
    area="moderation",
    arms={
        "truth": reviewed_all,
        "baseline": recipe,
        "reviewed": partial(recipe, objective=Reviewed()),
        "ipw_logged": partial(recipe, objective=WEIGHTED),
        "ipw_estimated": partial(recipe, objective=WEIGHTED, estimated=True),
        "audit_unweighted": partial(recipe, objective=Reviewed(), audited=True),
        "ipw_audit": partial(recipe, objective=WEIGHTED, audited=True),
        "student": partial(recipe, objective=WEIGHTED, audited=True, student=True),
        "nnpu": partial(recipe, objective=PositivesOnly()),
        "sar_pu": partial(recipe, objective=PositivesOnly(selected=SelectedPU())),
        "gce": partial(recipe, objective=AssumeClean(loss=GeneralisedCrossEntropy())),
        "smoothing": partial(recipe, objective=AssumeClean(loss=SmoothedCrossEntropy())),
        "co_teaching": partial(recipe, objective=Taught()),
        "ceiling": ceiling,
    },
    world={
        "on": {"selection": 1.0},
        "off": {"coverage": 1.0},
        "scar": {"selection": 0.0},
        "thin audit": {"selection": 1.0, "audit": 0.005},
        "hasty moderators": {"selection": 1.0, "reviewer_error": 0.3},
    },
    symptom=(
        Moves(metric=AP, arm="baseline", versus="truth", by=-0.15),
        Moves(metric=EVASIVE, arm="baseline", versus="truth", by=-0.4),
        Moves(metric=LEVEL, arm="baseline", versus="truth", by=-0.4),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        Moves(metric=AP, arm="student", versus="baseline", by=0.08),
        Moves(metric=EVASIVE, arm="student", versus="baseline", by=0.15),
        Recovers(metric=AP, arm="student", broken="baseline", healthy="truth", share=0.4),
        Moves(metric=AP, arm="ipw_audit", versus="ipw_logged", by=0.01),
        Moves(metric=AP, arm="student", versus="ipw_audit", by=0.02),
        Moves(metric=LEVEL, arm="student", versus="ipw_audit", by=0.05),
        Moves(metric=AP, arm="audit_unweighted", versus="baseline", by=0.08),
        Keeps(metric=AP, arm="ipw_estimated", versus="ipw_logged", within=0.02),
        Moves(metric=AP, arm="student", versus="baseline", by=0.08, at="thin audit"),
        Moves(metric=AP, arm="student", versus="baseline", by=0.08, at="hasty moderators"),
    ),
    guard=(
        Keeps(metric=OBVIOUS, arm="student", versus="truth", within=0.02, side="below"),
        Reaches(metric=LEVEL, arm="student", at_least=0.8, at_most=1.25),
    ),
    control=(
        Keeps(metric=AP, arm="student", versus="baseline", within=0.02, at="off"),
        Keeps(metric=OBVIOUS, arm="student", versus="baseline", within=0.06, side="below"),
        *(Keeps(metric=AP, arm=arm, versus="baseline", within=0.08, side="above") for arm in RIVALS),
        *(Keeps(metric=EVASIVE, arm=arm, versus="baseline", within=0.15, side="above") for arm in RIVALS),
        Keeps(metric=AP, arm="baseline", versus="truth", within=0.08, at="scar"),
        Moves(metric=LEVEL, arm="nnpu", versus="baseline", by=0.4, at="scar"),
        Moves(metric=AP, arm="nnpu", versus="baseline", by=0.08, at="scar"),
    ),
    detector=ReviewAudit(),
    cases=(
        Case(cause=SELECTED, arm="baseline", world={"selection": 1.0}),
        Case(cause=SELECTED, arm="baseline", world={"selection": 0.6}),
        Case(cause=SELECTED, arm="baseline", world={"selection": 0.85, "prevalence": 0.1, "obvious": 0.5}, fresh=True),
        Case(cause=RANDOM, arm="baseline", world={"selection": 0.0}),
        Case(cause=RANDOM, arm="baseline", world={"selection": 0.0, "review_rate": 0.6}),
        Case(cause=RANDOM, arm="baseline", world={"selection": 0.0, "review_rate": 0.25, "prevalence": 0.08}, fresh=True),
        Case(cause=NOISE, arm="baseline", world={"coverage": 1.0, "reviewer_error": 0.3}),
        Case(cause=NOISE, arm="baseline", world={"coverage": 1.0, "reviewer_error": 0.2, "prevalence": 0.1}, fresh=True),
        Case(cause=f"{SELECTED}|{NOISE}", arm="baseline", world={"selection": 0.9, "reviewer_error": 0.25}, fresh=True),
        Case(cause=HEALTHY, arm="baseline", world={"coverage": 1.0}),
        Case(cause=HEALTHY, arm="baseline", world={"coverage": 1.0, "prevalence": 0.03}),
        Case(cause=HEALTHY, arm="student", world={"selection": 1.0}),
        Case(cause=HEALTHY, arm="reviewed", world={"selection": 0.0}),
        Case(cause=HEALTHY, arm="baseline", world={"coverage": 1.0, "reviewer_error": 0.02, "obvious": 0.2}, fresh=True),
    ),
    ceiling="ceiling",
    tuning=Tuning(space={"learning_rate": (3e-3, 2e-3), "weight_decay": (4.0, 1.0)}, trials=4),
    sweep=Sweep(axes={"selection": (0.0, 0.4, 0.7, 1.0)}, arms=("baseline", "nnpu", "student"), metric=AP),
    unequal={
        "student": "its teacher is trained for as many steps before it",
        "co_teaching": "two networks are what it is",
        "ceiling": "scored from the truth, not trained",
    },
)  # fmt: skip
