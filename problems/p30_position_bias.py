"""A ranker that learns from clicks learns where things stood.

Question
--------
Your model NDCG improves steadily, but add-to-cart conversion drops. Your team suspects overfitting to position bias in
training. How would you detect and correct this?

Answer
------
A click needs a look, and looks fall with the place. The places were given by the old ranker, so whatever the old ranker
went by (here: what sellers paid for) predicts clicks without being worth anything. A model that has the features to
tell (here: the seller's number) learns the old ranking, and NDCG on logged clicks rewards it for that: the metric and the
training share the bias. What it then puts on top is what was boosted, not what is bought.

Detect it where chance decided the place. Keep a few percent of lists in random order for ever. (1) On these lists, regress
clicks on the model's score and the old ranker's score: an unbiased score leaves nothing for the old one to say, a
negative coefficient is worth learnt from places. (2) Watch two validation curves: NDCG of logged clicks, and the same
clicks weighted by the inverse of a look's probability; they part when the model starts to learn places. (3) Measure how
looks fall: click rate by place in random lists, or of the same item that happened to stand at several places. Then
exclude what looks alike: tastes that shifted (the score says less about later lists), carts that are reported late (fewer
carts per click in the last days alone), clicks that aren't meant (what draws clicks at a fixed place repels carts). The
rank correlation of score and old ranking is no evidence by itself: the old ranker may have been right.

Correct it by telling the model of the places, and choose how by how good the old ranker was. Weak ranker: almost
everything works that separates places from items: inverse propensity weights (propensities from random lists, from items
that moved, or by EM where the click model's regression can be trusted), position as a feature that is held constant when
serving, a place tower whose probability multiplies the item's (PAL). Good ranker: what is relevant stood on top anyway,
and heavy weights on the few clicks far below cost more variance than they remove bias; position as a feature and the
place tower, which weight nothing, do better. The tower must be allowed to learn fast: looks differ by several logits from
the first place to the last. Never estimate propensities from click rates by place of the ranker's own lists: a good ranker
makes them too steep, and the cure is worse than the disease. Without randomised lists and with a good ranker, relevance
and place can't be told apart by any of these: randomise first (Zhang et al., 2023; Hager et al., 2025). Where places
depend on nothing but relevance, leave the model alone: there is nothing wrong to learn.

Judge by carts in the random lists (or by IPS-weighted carts), never by NDCG of logged clicks, and keep the randomised
share after the repair: the next model becomes the next old ranker.

Symptom
-------
Against the same learner on logs without an old ranker (all lists in random order) the naive ranker loses carts. Against
itself early in training it gains NDCG on logged clicks and loses carts: both move as the question says, in one run.

Diagnosis
---------
`PositionBiasAudit` reads logged lists with the model's scores. Its cases plant position bias with weak and strong old
rankers, a shift of tastes, a delay of carts, a feature that baits clicks, and systems that are healthy though they look
suspicious: places that don't matter, an old ranker that went by relevance alone, a boost that is deserved, a repaired model
in a biased world. It also reports how far features tell places, how many clicks the weights leave, and how much steeper
clicks fall in the old ranker's lists than in random ones: the better it was, the steeper, which decides the remedy.
Without randomised lists it abstains and asks for them.

Remedy
------
Naive pointwise and listwise losses; position as a feature, held at the top place when serving; two towers whose
probabilities multiply (PAL); a place logit added within the softmax, with the place withheld at random; dual learning;
inverse propensity weights from random lists, from harvested moves, from regression EM, from click rates by place (which is
wrong), and from the true propensities, which nobody has.

Guard
-----
Clicks served may not fall against the learner on random logs.

Control
-------
With looks that don't fall, weights and towers change nothing (judged by NDCG of true relevance, since carts don't depend on
the order there). With an old ranker that goes by relevance alone, the naive ranker isn't beaten by weights, which only
cost variance. With a good old ranker the remedies part: weights from click rates by place hurt, and the place tower
beats weights from random lists.

Real data
---------
A fashion shop (Open Bandit) showed three garments side by side, for a week by a learnt policy and for the same week drawn at
random, which is the experiment that propensities need. Nothing is ranked by it: some 150 clicks a policy are too few to say
which model sells more. Looks at the second and third place over the first's are estimated from the experiment and, as if
there had been none, from the learnt policy's log. A seed is a bootstrap sample of the log, so its spread is what such a log
leaves open.

Cost
----
Random order for a few percent of lists costs the difference between the ranked and the random page on those lists, which
the arms' tables let one read off. A place tower costs a number a place; position as a feature an input row. Weights cost
variance: the effective share of clicks is a row of the diagnosis. Serving costs nothing in any of them.

Apply
-----
Log for every shown item its place, and for every list whether chance ordered it. Fill `LoggedSlates` (position, click,
score, features, and where you have them carts, groups, the old score, days) and run the detector; it says what is missing.
Then train `SlateRanker` with `weights`, `objective` or `sees_position`. Tune by the debiased validation, as all arms here do.
A shop's log without randomised lists still allows `weights="harvested"` if its ranker has changed or is noisy.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from recsys.claims.kinds import Keeps, Moves, Recovers
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.position import DELAY, MISMATCH, POSITION, SHIFT, PositionBiasAudit
from recsys.recipes.place_propensity import PlacePropensity
from recsys.recipes.slate_objectives import Objective
from recsys.recipes.slate_ranker import SlateRanker, Weights
from recsys.train.fit import Fit
from recsys.worlds.open_bandit import OpenBandit
from recsys.worlds.slates import SlateWorld

TRAIN = {"steps": 300, "batch": 128, "checks": 12}
EARLY = 1  # the second of twelve checks: one epoch of the six


def recipe(
    *,
    objective: Objective = "listwise",
    weights: Weights = "none",
    sees_position: bool = False,
    dropout: float = 0.0,
    keep: int | None = None,
    **more: Any,
) -> SlateRanker:
    """`more` holds the tuned knobs of the training, and the world's switches."""
    knobs = {name: more.pop(name) for name in ("learning_rate", "weight_decay") if name in more}
    return SlateRanker(
        world=SlateWorld(**more),
        objective=objective,
        weights=weights,
        known_eta=more.get("eta", 1.0),
        sees_position=sees_position,
        dropout=dropout,
        keep=keep,
        train=Fit(**TRAIN, **knobs),
    )


def healthy(**given: Any) -> SlateRanker:
    """The naive learner where no ranker had a hand in the log."""
    return recipe(**{**given, "randomised": 1.0})


def ceiling(**given: Any) -> SlateRanker:
    """Scores from the truth; the model is only there because a recipe has one."""
    held = recipe(**given)
    return SlateRanker(world=held.world, ceiling=True, train=Fit(steps=1, checks=1))


places = partial(PlacePropensity, world=OpenBandit())


def _more(metric: str, arm: str, by: float, at: str = "on") -> Moves:
    return Moves(metric=metric, arm=arm, versus="naive", by=by, at=at, relative=True)


STRONG = {"relevance_weight": 2.0, "boost": 0.8}
DESERVED = {"relevance_weight": 0.7, "boost": 0.5, "boost_quality": 1.0}

PROBLEM = Problem(
    title="NDCG rises, carts fall: the model learns where things stood",
    area="learning from clicks",
    arms={
        "healthy": healthy,
        "naive": recipe,
        "early": partial(recipe, keep=EARLY),
        "naive_pointwise": partial(recipe, objective="pointwise"),
        "position_feature": partial(recipe, sees_position=True),
        "pal": partial(recipe, objective="position_based"),
        "place_dropout": partial(recipe, objective="additive", dropout=0.1),
        "dual": partial(recipe, objective="dual"),
        "ipw_click_rates": partial(recipe, weights="click_rates"),
        "ipw_randomised": partial(recipe, weights="randomised"),
        "ipw_harvested": partial(recipe, weights="harvested"),
        "ipw_em": partial(recipe, weights="regression_em"),
        "ipw_known": partial(recipe, weights="known"),
        "ceiling": ceiling,
    },
    world={"on": {}, "strong": STRONG, "no looks lost": {"eta": 0.0}, "no boost": {"boost": 0.0}},
    symptom=(
        Moves(metric="atc", arm="naive", versus="healthy", by=-0.05, relative=True),
        Moves(metric="click_ndcg@10", arm="naive", versus="early", by=0.02),
        Moves(metric="atc", arm="naive", versus="early", by=-0.03, relative=True),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        _more("atc", "ipw_randomised", 0.08),
        Keeps(metric="atc", arm="ipw_randomised", versus="ipw_known", within=0.03, side="below", relative=True),
        Recovers(metric="atc", arm="ipw_randomised", broken="naive", healthy="healthy", share=0.7),
        _more("atc", "ipw_harvested", 0.08),
        _more("atc", "ipw_em", 0.08),
        _more("atc", "pal", 0.04),
        _more("atc", "position_feature", 0.06),
        _more("atc", "position_feature", 0.01, "strong"),
        _more("atc", "pal", 0.02, "strong"),
    ),
    guard=(
        Keeps(metric="ctr", arm="ipw_randomised", versus="healthy", within=0.03, side="below", relative=True),
        Keeps(metric="ctr", arm="position_feature", versus="healthy", within=0.04, side="below", relative=True),
    ),
    control=(
        Keeps(metric="ndcg@5", arm="ipw_randomised", versus="naive", within=0.01, at="no looks lost"),
        Keeps(metric="ndcg@5", arm="pal", versus="naive", within=0.01, at="no looks lost"),
        Keeps(
            metric="atc", arm="ipw_randomised", versus="naive", within=0.01, at="no boost", side="above", relative=True
        ),
        Keeps(metric="atc", arm="pal", versus="naive", within=0.03, at="no boost", relative=True),
        _more("atc", "ipw_click_rates", -0.02, "strong"),
        Moves(metric="atc", arm="pal", versus="ipw_randomised", by=0.01, at="strong", relative=True),
    ),
    detector=PositionBiasAudit(),
    cases=(
        Case(cause=POSITION, arm="naive", world={}),
        Case(cause=POSITION, arm="naive", world=STRONG),
        Case(cause=POSITION, arm="naive", world={"eta": 1.3, "boost": 0.7}, fresh=True),
        Case(cause=SHIFT, arm="ipw_randomised", world={"shift": 1.0}),
        Case(cause=SHIFT, arm="naive", world={"eta": 0.0, "shift": 0.7}, fresh=True),
        Case(cause=DELAY, arm="ipw_randomised", world={"delay": 4.0}),
        Case(cause=DELAY, arm="naive", world={"boost": 0.0, "delay": 2.5}, fresh=True),
        Case(cause=MISMATCH, arm="ipw_randomised", world={"bait": 1.5}),
        Case(cause=MISMATCH, arm="ipw_randomised", world={"eta": 0.6, "bait": 1.2}, fresh=True),
        Case(cause=f"{POSITION}|{DELAY}", arm="naive", world={"delay": 6.0, "boost": 0.9}, fresh=True),
        Case(cause=HEALTHY, arm="naive", world={"eta": 0.0}),
        Case(cause=HEALTHY, arm="naive", world={"boost": 0.0}),
        Case(cause=HEALTHY, arm="ipw_randomised", world={}),
        Case(cause=HEALTHY, arm="naive", world=DESERVED, fresh=True),
        Case(cause=HEALTHY, arm="ipw_randomised", world={"eta": 0.7, "boost": 1.0}, fresh=True),
    ),
    ceiling="ceiling",
    tuning=Tuning(space={"learning_rate": (3e-3, 6e-3), "weight_decay": (0.0, 1.0)}, trials=4),
    sweep=Sweep(
        axes={"relevance_weight": (0.4, 2.0), "boost": (0.0, 0.6, 1.2)},
        arms=("naive", "position_feature", "ipw_randomised"),
        metric="atc",
    ),
    unequal={"ceiling": "scores come from the truth, nothing is trained"},
    real={
        "shop: randomised": places,
        "shop: click rates": partial(places, estimator="click_rates"),
        "shop: harvested": partial(places, estimator="harvested"),
        "shop: regression EM": partial(places, estimator="regression_em"),
    },
)
