"""Deep topics vanish when a label that stops half-way down is read as "and nothing below".

Question
--------
You're tagging posts using a 4-level topic hierarchy. You only have partial labels for most training examples (e.g.,
only level-1 or level-2). How would you design the model and loss to train on this partially labeled data?

Answer
------
Predict one distribution over the leaves, and let the chance of any broader topic be the sum of its leaves'. Then a label of
any level has a likelihood: minus the log of the chance of the topic that was named. A level-2 label supervises the sum of
what lies below it; deeper topics that nobody named are summed over, and never held to be false. Every row teaches, none
needs a special case, and no two levels can contradict each other.

1. *Model.* An encoder shared by all levels, and a head over leaves: flat, path-sum (a leaf's vector is the sum of its path's
   vectors, so that a coarse label moves all leaves that it covers), or choices among siblings from the root down (tree
   softmax). All three are consistent by construction. One classifier a level isn't, and needs a decoder that looks for the
   best path.
2. *Loss.* Marginal likelihood of the deepest topic named. With sigmoids, one for each topic, the same idea is a mask: the path
   is true, what lies beside it false, what lies inside the topic named unknown and left out. A maximum over the tree on top
   (C-HMCNN: Giunchiglia and Lukasiewicz, 2020) lets no topic be less likely than one inside it; it was made for posts with
   several topics, and doesn't choose a path. The mistake to avoid is to let the unknown be false: that teaches the model
   how rarely annotators go deep, not what the post is about.
3. *Data.* Keep the coarse rows: training on fully labelled rows alone throws away most of what is known. Batches balanced by
   the level of the label and self-training (impute leaves inside the topic named, learn from them, repeat: EM) are
   additions to measure, not the cure; the marginal likelihood is already what EM climbs.
4. *Who labels deep isn't chance.* Annotators stop where they are unsure. If that depends on the words only, the marginal
   likelihood may ignore it; if it depends on the topic itself, the leaves that nobody names look impossible. Then model the
   level at which a label stops, leaf by leaf, along with the leaf; better, spend part of the deep labels on posts drawn at
   random, which is the only thing that settles it.
5. *Serving and evaluation.* Answer with the deepest topic whose chance is still enough, and back off to its parent
   otherwise. Report accuracy and calibration of every level, not one average: the broad levels are easy and hide the deep
   ones. Score on posts labelled to the bottom, drawn at random.

Symptom
-------
With unknown taken for false, the total chance that the model gives to all leaves together is about the share of labels that
reach a leaf, where it should be one. Leaves are found far less often than by the same tree with all labels there, and what
is served for the four levels often doesn't lie on one path. Backing off to where the model is sure then stops near the top.

Diagnosis
---------
Five causes make deep topics bad, and they call for different work. *deep_suppression*: the mass on the last level is far
below one. *coarse_unused*: trained again without the coarse rows, the system is as good as before. *capacity*: a model of
twice the width is better on held-out labels. *depth_selection*: the words of a post tell how deep its label goes, by a
cross-fitted probe. *independent_levels*: the topics served lie on no one path. The refits and the probe are run on the logs;
the detector sees their outcomes. Selection is named even where the loss copes with it, since evaluation on labelled rows
no longer speaks for all posts.

Remedy
------
Marginal likelihood over a path-sum head, against unknown-as-false, against leaf-labelled rows alone, and against masked
sigmoids. The arms that isolate the parts stand beside it: the flat head under the same loss, the tree softmax, one softmax a
level with and without a path decoder, masks instead of sums, masks under C-HMCNN's maximum, batches balanced by level, one
round of self-training, and the joint model of leaf and stopping level. Where annotators go deep only into topics that they
know, the remedy is not a loss but a lot: the same number of deep labels, half of them spent on posts drawn at random.

Guard
-----
Accuracy of level 1 may not fall against the same model with every label there: what is gained below may not be paid
above. What is served lies on one path in every row.

Control
-------
Where every label reaches its leaf, marginal likelihood *is* cross entropy over leaves, and nothing is unknown: training on
fully labelled rows only is then the same training, and taking the unknown for false the same as masking it. The remedy
may not win there: what it wins with partial labels it would owe to being another model.

Real data
---------
Reviews of clothes with a tree of two levels, six departments and 18 classes; a tenth of the known reviews keeps its class,
drawn by lot, the others say only the department. No arm is tuned, and a seed is another split of the same reviews.

Cost
----
A head with a vector for every topic instead of every leaf, and a sum over the leaves inside the topic named: both
negligible beside the encoder. Modelling the stopping level adds one small table. Self-training adds a pass over the data.

Apply
-----
Give `Taxonomy` your tree (`parents`, a tuple for each level; continue short branches by only children), labels as (level,
place), and build `PartialLabels` with a head and `MarginalNLL`. For diagnosis fill `TreePredictions` from held-out rows,
`TreeRefits` from two more trainings (without coarse rows; twice as wide) and `DepthProbe` from any cross-fitted classifier of
"labelled deeper than the mean level" by content. With tens of thousands of leaves replace the mask over all leaves by
segment sums along the tree.

What didn't work
----------------
Taking the unknown for false hurts the order of the leaves less than their mass: where annotators stop at random, it scales
all leaves of a level by the same factor, so that the best one often stays the best. It ruins thresholds, back-off and
calibration first. And how much any of this is worth depends on training: at short or timid schedules every arm with
sigmoids is far behind, at tuned ones masked sigmoids are a match for sums over a softmax. Modelling the level at which
labels stop, leaf by leaf, from the first step on: leaves and stopping levels explain each other away, and leaves suffer
even where annotators stop at random. Batches balanced by level: hardly a difference.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from torch import Tensor

from recsys.claims.kinds import Keeps, Moves, Reaches
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.partial_labels import PartialLabelAudit
from recsys.encoders.words import WordBag
from recsys.heads.leaves import FlatHead, NodesHead, PathSumHead, PathSumStopsHead, TreeSoftmaxHead
from recsys.losses.levels import MaskedLevelCE
from recsys.losses.marginal import JointMarginalNLL, MarginalNLL
from recsys.losses.nodes import MaskedNodeBCE, MaxConstraintBCE
from recsys.recipes.partial_labels import Head, PartialLabels, PartialLoss
from recsys.taxonomy import Taxonomy
from recsys.train.fit import Fit
from recsys.value import value
from recsys.worlds.review_topics import ReviewTopics
from recsys.worlds.taxonomy import TopicPosts

Learner = Literal[
    "unknown_is_false", "sigmoids", "constrained", "level_softmax", "flat", "path_sum", "tree_softmax", "stops"
]


@value
class UnknownIsFalse(MaskedNodeBCE):
    """Deliberately wrong: topics inside the one named, which nobody ruled out, count as false."""

    def answers(self, level: Tensor, place: Tensor) -> Tensor:
        return MaskedNodeBCE.answers(self, level, place).nan_to_num()


def learner(name: Learner, tree: Taxonomy) -> tuple[Head, PartialLoss]:
    nodes, path_sum, marginal = NodesHead(taxonomy=tree), PathSumHead(taxonomy=tree), MarginalNLL(taxonomy=tree)
    return {
        "unknown_is_false": (nodes, UnknownIsFalse(taxonomy=tree)),
        "sigmoids": (nodes, MaskedNodeBCE(taxonomy=tree)),
        "constrained": (nodes, MaxConstraintBCE(taxonomy=tree)),
        "level_softmax": (nodes, MaskedLevelCE(taxonomy=tree)),
        "flat": (FlatHead(taxonomy=tree), marginal),
        "path_sum": (path_sum, marginal),
        "tree_softmax": (TreeSoftmaxHead(taxonomy=tree), marginal),
        "stops": (PathSumStopsHead(taxonomy=tree), JointMarginalNLL(taxonomy=tree)),
    }[name]


def recipe(
    learn: Learner = "path_sum",
    *,
    leaf_share: float = 0.1,
    dim: int = 48,
    steps: int = 350,
    learning_rate: float = 0.03,
    knobs: dict[str, Any] | None = None,
    **world: Any,
) -> PartialLabels:
    """`leaf_share` of the labels reach a leaf; the others stop at levels 1, 2, 3 as 50 to 25 to 15."""
    rest = 1 - leaf_share
    shares = (rest * 50 / 90, rest * 25 / 90, rest * 15 / 90, leaf_share)
    posts = ReviewTopics(deep=leaf_share) if "reviews" in world else TopicPosts(depths=shares, **world)
    head, loss = learner(learn, posts.taxonomy)
    return PartialLabels(
        world=posts,
        head=head,
        loss=loss,
        encoder=WordBag(dim=dim),
        train=Fit(steps=steps, learning_rate=learning_rate),
        **(knobs or {}),
    )


def all_labelled(**given: Any) -> PartialLabels:
    return recipe("path_sum", **{**given, "leaf_share": 1.0})


APART = {"decode": "levels"}

PROBLEM = Problem(
    title="A four-level hierarchy with partial labels",
    area="taxonomy",
    arms={
        "all_labelled": all_labelled,
        "unknown_is_false": partial(recipe, "unknown_is_false", knobs=APART),
        "unknown_is_false_path": partial(recipe, "unknown_is_false"),
        "leaf_rows_only": partial(recipe, "path_sum", knobs={"rows": "deepest"}),
        "masked_sigmoids": partial(recipe, "sigmoids", knobs=APART),
        "masked_sigmoids_path": partial(recipe, "sigmoids"),
        "max_constraint": partial(recipe, "constrained", knobs=APART),
        "max_constraint_path": partial(recipe, "constrained"),
        "level_softmax": partial(recipe, "level_softmax", knobs=APART),
        "level_softmax_path": partial(recipe, "level_softmax"),
        "marginal_flat": partial(recipe, "flat"),
        "marginal_path_sum": partial(recipe, "path_sum"),
        "marginal_tree_softmax": partial(recipe, "tree_softmax"),
        "balanced_depth": partial(recipe, "path_sum", knobs={"balanced": True}),
        "self_training": partial(recipe, "path_sum", knobs={"self_training": True}),
        "stopping_modelled": partial(recipe, "stops"),
        "audited": partial(recipe, "path_sum", audited=0.5),
        "small": partial(recipe, "path_sum", dim=3),
        "ceiling": partial(recipe, "path_sum", steps=1, knobs={"ceiling": True}),
    },
    world={"on": {}, "off": {"leaf_share": 1.0}, "selected": {"selection": 0.9}},
    symptom=(
        Moves(metric="mass[leaves]", arm="unknown_is_false", versus="all_labelled", by=-0.5),
        Moves(metric="accuracy[level 4]", arm="unknown_is_false", versus="all_labelled", by=-0.2),
        Moves(metric="inconsistency", arm="unknown_is_false", versus="all_labelled", by=0.1),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        Moves(metric="hF", arm="marginal_path_sum", versus="unknown_is_false", by=0.08),
        Moves(metric="accuracy[level 4]", arm="marginal_path_sum", versus="unknown_is_false", by=0.08),
        Reaches(metric="inconsistency", arm="marginal_path_sum", at_most=0.0),
        Moves(metric="hF", arm="marginal_path_sum", versus="leaf_rows_only", by=0.10),
        Moves(metric="hF", arm="marginal_path_sum", versus="masked_sigmoids", by=0.02),
        Moves(metric="accuracy[level 4]", arm="marginal_path_sum", versus="masked_sigmoids", by=0.01),
        Moves(metric="accuracy[level 4]", arm="marginal_path_sum", versus="marginal_flat", by=0.005),
        Moves(metric="accuracy[level 4]", arm="marginal_path_sum", versus="max_constraint", by=0.015),
        Moves(metric="hF", arm="masked_sigmoids", versus="unknown_is_false", by=0.03),
        Moves(metric="hF[backoff]", arm="marginal_path_sum", versus="unknown_is_false", by=0.15),
        Moves(metric="accuracy[level 4]", arm="audited", versus="marginal_path_sum", by=0.05, at="selected"),
    ),
    guard=(
        Keeps(metric="accuracy[level 1]", arm="marginal_path_sum", versus="all_labelled", within=0.01, side="below"),
        Keeps(metric="accuracy[level 2]", arm="marginal_path_sum", versus="all_labelled", within=0.02, side="below"),
    ),
    control=(
        Keeps(metric="hF", arm="marginal_path_sum", versus="leaf_rows_only", within=0.02, at="off"),
        Keeps(metric="hF", arm="masked_sigmoids", versus="unknown_is_false", within=0.005, at="off"),
        Keeps(metric="hF", arm="marginal_path_sum", versus="unknown_is_false", within=0.01, side="above", at="off"),
        Keeps(metric="hF", arm="max_constraint", versus="masked_sigmoids", within=0.01),
        Reaches(metric="inconsistency", arm="max_constraint", at_least=0.04),
    ),
    detector=PartialLabelAudit(),
    cases=(
        Case(cause="deep_suppression", arm="unknown_is_false_path", world={}),
        Case(cause="deep_suppression", arm="unknown_is_false_path", world={"leaf_share": 0.4}, fresh=True),
        Case(cause="coarse_unused", arm="leaf_rows_only", world={}),
        Case(cause="coarse_unused", arm="leaf_rows_only", world={"leaf_share": 0.3}, fresh=True),
        Case(cause="capacity", arm="small", world={}),
        Case(cause="capacity", arm="small", world={"leaf_share": 0.5}, fresh=True),
        Case(cause="depth_selection", arm="marginal_path_sum", world={"selection": 0.9}),
        Case(cause="depth_selection", arm="marginal_path_sum", world={"selection": 0.9, "selected_by": "clarity"}),
        Case(cause="depth_selection", arm="marginal_path_sum", world={"selection": 0.45}, fresh=True),
        Case(cause="independent_levels", arm="level_softmax", world={}),
        Case(cause="independent_levels", arm="masked_sigmoids", world={"leaf_share": 0.05}, fresh=True),
        Case(
            cause="deep_suppression|independent_levels", arm="unknown_is_false", world={"leaf_share": 0.2}, fresh=True
        ),
        Case(cause=HEALTHY, arm="marginal_path_sum", world={}),
        Case(cause=HEALTHY, arm="marginal_path_sum", world={"contamination": 0.4}, fresh=True),
        Case(cause=HEALTHY, arm="marginal_path_sum", world={"leaf_share": 1.0}, fresh=True),
    ),
    ceiling="ceiling",
    tuning=Tuning(space={"learning_rate": (0.03, 0.01)}, trials=2),
    sweep=Sweep(
        axes={"leaf_share": (0.03, 0.1, 0.3), "steps": (60, 350)},
        arms=("unknown_is_false", "masked_sigmoids", "marginal_path_sum"),
        metric="hF",
    ),
    unequal={"small": "too small on purpose", "ceiling": "scored from the truth, without training"},
    real={
        "reviews: all_labelled": partial(recipe, "path_sum", leaf_share=1.0, reviews=True),
        "reviews: unknown_is_false": partial(recipe, "unknown_is_false", reviews=True, knobs=APART),
        "reviews: leaf_rows_only": partial(recipe, "path_sum", reviews=True, knobs={"rows": "deepest"}),
        "reviews: masked_sigmoids_path": partial(recipe, "sigmoids", reviews=True),
        "reviews: level_softmax_path": partial(recipe, "level_softmax", reviews=True),
        "reviews: marginal_flat": partial(recipe, "flat", reviews=True),
        "reviews: marginal_path_sum": partial(recipe, "path_sum", reviews=True),
        "reviews: marginal_tree_softmax": partial(recipe, "tree_softmax", reviews=True),
    },
)
