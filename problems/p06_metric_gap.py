"""MAP@10 is good and NDCG@3 is poor: what makes the gap.

Question
--------
You deploy a ranking model using MAP@10, but notice poor NDCG@3 online. What might be causing this discrepancy?

Answer
------
First make sure that it is one model and one definition: gain linear or 2^grade - 1, ideal over which documents, MAP over all
positives or over min(positives, 10), ties, queries without a relevant document skipped or counted as nought. Then there are six
causes, and they add up.

(1) Grades ignored. MAP asks whether a document is relevant, NDCG@3 how much. A model trained and chosen by relevant-or-not
fills ten places with relevant documents and orders the perfect and the fair among them as it happens. This is the usual
one. (2) Depth and discount: MAP forgives at place one what it finds at place eight; NDCG@3 sees three places. (3) The query
mix: an offline mean counts every query once, online they count as often as they come, and the head may be the hard ones.
(4) Labels: pooled or clicked judgements know what an old ranker showed; what it hid counts as not relevant, and a model that
copies the old ranker looks good. (5) Candidates: offline a fixed pool is reranked, online another retriever offers
documents that look right. (6) Features: offline they are joined from a table, online they are stale. A seventh looks like
the first: grades may not be predictable from the features at all, and then no training helps.

Tell them apart by switching one at a time, in all orders. Score once; then evaluate the same scores for every combination
of {binary or graded gain, ten or three places, precision or NDCG's discount, queries alike or by traffic, offline or online
labels, pool, features} and share the gap out by Shapley values, which add up where one-at-a-time differences leave the
interactions over. What the metric's own definition takes is put to a probe: the same network fitted to the grades. If it
is much better at NDCG@3 on the same judged lists, the training ignored grades; if not, the features don't hold them.

Mend what was found. Grades: train and choose by the metric that is served: LambdaRank with NDCG and graded gains, softmax
cross entropy on gains, ApproxNDCG. Beware: when topic and quality are different features, one score can't serve both metrics;
what NDCG@3 gains MAP@10 pays, and a mixture of both losses picks the point on that front. Labels: weight by the
inverse of the chance to be judged, or judge what the new model shows. Query mix: weight the evaluation, and the training, by
traffic. Pool: evaluate on the pool that is served and train with its hard negatives. Features: log them at serving and
train on the log.

Symptom
-------
LambdaMAP's MAP@10 on the offline set is high, and the same scores' NDCG@3 online is far below it.

Diagnosis
---------
`MetricGapAttribution` reads both views of the same queries (scores, labels, pools, traffic) and the probe's outcome. Its
cases plant one cause at a time under a model that respects grades, ignored grades under one that doesn't, grades that
nothing predicts, two causes at once, and healthy systems, among them one with so few queries that any gap may be chance.
The share that the planted factor is given of all that was lost is a claim of its own.

Remedy
------
Softmax on gains, LambdaRank at three places and over the whole list, ApproxNDCG and squared error on grades against
LambdaMAP, binary cross entropy and binary softmax; and the mixture of LambdaRank and LambdaMAP at three weights between.

Guard
-----
The even mixture may lose little MAP@10. The pure graded losses lose a lot: that is measured, and not hidden by a guard
that no arm could meet.

Control
-------
Where grades don't depend on the features, a graded loss gains nothing at NDCG@3: what helped was the grades. Along the
mixture NDCG@3 falls and MAP@10 rises at each step.

Cost
----
All objectives train the same network for the same steps; pairs of a list cost its length squared in training and nothing
at serving. The attribution evaluates one set of scores in all combinations: seconds, no training. The probe is one more
training of the model.

Apply
-----
Fill `TwoViews` from a sample of queries that is both judged offline and served: scores from either feature log, labels from
judges and from feedback (weighted for position), pools, traffic. Where a view is the same, give it twice: that factor then
takes nothing. Fit the model once more to the grades for `GradedProbe`; without it the detector abstains when the metric's
definition is what takes most. Then train `GradedRanker` with another `objective` or `mix`, chosen by NDCG@3 on held-out lists.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from recsys.claims.kinds import Keeps, Moves, Reaches
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.metric_gap import COLLAPSE, LABELS, POOL, SIGNAL, SKEW, TRAFFIC, MetricGapAttribution
from recsys.recipes.graded_ranker import GradedRanker, Objective
from recsys.train.fit import Fit
from recsys.worlds.graded import GradedWorld


def recipe(
    *,
    objective: Objective = "lambda_map",
    cutoff: int | None = None,
    mix: float = 0.0,
    learning_rate: float = 1e-2,
    steps: int = 200,
    **world: Any,
) -> GradedRanker:
    return GradedRanker(
        world=GradedWorld(**world),
        objective=objective,
        cutoff=cutoff,
        mix=mix,
        train=Fit(steps=steps, batch=16, learning_rate=learning_rate),
    )


def ceiling(**given: Any) -> GradedRanker:
    """Scores are the expected gains; the model is only there because a recipe has one."""
    held = recipe(**given)
    return GradedRanker(world=held.world, ceiling=True, train=Fit(steps=1, batch=16))


graded = partial(recipe, objective="lambda_ndcg", cutoff=3)
FRONT = ("lambda_ndcg@3", "mix_25", "mix_50", "mix_75", "lambda_map")


def _front() -> tuple[Keeps, ...]:
    """Along the mixture NDCG@3 doesn't rise and MAP@10 doesn't fall."""
    held = []
    for before, after in zip(FRONT, FRONT[1:], strict=False):
        held.append(Keeps(metric="ndcg@3", arm=after, versus=before, within=0.01, side="above"))
        held.append(Keeps(metric="map@10", arm=after, versus=before, within=0.01, side="below"))
    return tuple(held)


PROBLEM = Problem(
    title="MAP@10 is good, NDCG@3 is poor: a gap shared out among its causes",
    area="evaluation metrics",
    arms={
        "lambda_map": recipe,
        "binary_bce": partial(recipe, objective="binary_bce"),
        "binary_softmax": partial(recipe, objective="binary_softmax"),
        "gain_softmax": partial(recipe, objective="gain_softmax"),
        "lambda_ndcg@3": graded,
        "lambda_ndcg": partial(recipe, objective="lambda_ndcg"),
        "approx_ndcg": partial(recipe, objective="approx_ndcg"),
        "grade_mse": partial(recipe, objective="grade_mse"),
        "mix_25": partial(graded, mix=0.25),
        "mix_50": partial(graded, mix=0.5),
        "mix_75": partial(graded, mix=0.75),
        "ceiling": ceiling,
    },
    world={
        "on": {},
        "no quality": {"quality": 0.0},
        "query mix": {"shift": True},
        "bias": {"bias": 1.5},
        "pool": {"pool": 20},
        "skew": {"skew": 1.0},
    },
    symptom=(
        Reaches(metric="map@10", arm="lambda_map", at_least=0.8),
        Reaches(metric="gap", arm="lambda_map", at_least=0.3),
    ),
    diagnosis=(
        *STANDARD_DIAGNOSIS,
        Reaches(metric="share[traffic]", arm="lambda_ndcg@3", at_least=0.6, at="query mix"),
        Reaches(metric="share[labels]", arm="lambda_ndcg@3", at_least=0.6, at="bias"),
        Reaches(metric="share[pool]", arm="lambda_ndcg@3", at_least=0.6, at="pool"),
        Reaches(metric="share[features]", arm="lambda_ndcg@3", at_least=0.6, at="skew"),
        Reaches(metric="share[metric]", arm="lambda_map", at_least=0.6),
        Reaches(metric="lost[gain]", arm="lambda_map", at_least=0.25),
    ),
    remedy=(
        *(
            Moves(metric="ndcg@3", arm=arm, versus="lambda_map", by=0.2)
            for arm in ("gain_softmax", "lambda_ndcg@3", "lambda_ndcg", "approx_ndcg")
        ),
        Moves(metric="ndcg@3", arm="mix_50", versus="lambda_map", by=0.15),
        Moves(metric="map@10", arm="lambda_ndcg@3", versus="lambda_map", by=-0.1),
    ),
    guard=(
        Keeps(metric="map@10", arm="mix_50", versus="lambda_map", within=0.1, side="below"),
        Keeps(metric="ndcg@10", arm="mix_50", versus="lambda_map", within=0.01, side="below"),
    ),
    control=(
        Keeps(metric="ndcg@3", arm="lambda_ndcg@3", versus="lambda_map", within=0.02, at="no quality"),
        Keeps(metric="ndcg@3", arm="gain_softmax", versus="lambda_map", within=0.02, at="no quality"),
        *_front(),
    ),
    detector=MetricGapAttribution(),
    cases=(
        Case(cause=COLLAPSE, arm="lambda_map", world={}),
        Case(cause=COLLAPSE, arm="binary_bce", world={"quality": 0.9}, fresh=True),
        Case(cause=SIGNAL, arm="lambda_map", world={"quality": 0.0}),
        Case(cause=SIGNAL, arm="binary_bce", world={"quality": 0.1, "relevant": 0.2}, fresh=True),
        Case(cause=TRAFFIC, arm="lambda_ndcg@3", world={"shift": True}),
        Case(cause=TRAFFIC, arm="gain_softmax", world={"shift": True, "hard": 0.15}, fresh=True),
        Case(cause=LABELS, arm="lambda_ndcg@3", world={"bias": 1.5}),
        Case(cause=LABELS, arm="gain_softmax", world={"bias": 2.0}, fresh=True),
        Case(cause=POOL, arm="lambda_ndcg@3", world={"pool": 20}),
        Case(cause=POOL, arm="gain_softmax", world={"pool": 12}, fresh=True),
        Case(cause=SKEW, arm="lambda_ndcg@3", world={"skew": 1.0}),
        Case(cause=SKEW, arm="gain_softmax", world={"skew": 0.8}, fresh=True),
        Case(cause=f"{COLLAPSE}|{POOL}", arm="lambda_map", world={"pool": 15}, fresh=True),
        Case(cause=HEALTHY, arm="lambda_ndcg@3", world={}),
        Case(cause=HEALTHY, arm="lambda_ndcg@3", world={"num_checked": 60}),
        Case(cause=HEALTHY, arm="gain_softmax", world={"zipf": 0.9, "hard": 0.05}, fresh=True),
    ),
    ceiling="ceiling",
    tuning=Tuning(space={"learning_rate": (1e-2, 3e-3), "steps": (200,)}, trials=2),
    sweep=Sweep(axes={"quality": (0.0, 0.4, 0.8)}, arms=("lambda_map", "mix_50", "lambda_ndcg@3"), metric="ndcg@3"),
    unequal={"ceiling": "scores come from the truth, nothing is trained"},
)
