"""Categories that resemble each other aren't on a scale: similarity is a tree, order is a line.

Question
--------
You need to categorize uploaded products into one of 300 categories. Some categories are similar (e.g., smartphones vs.
feature phones). Should you model this as multi-class or ordinal regression? Why?

Answer
------
Multi-class: a softmax with a direction for every category. Ordinal models need a total order, in which every category lies
between two others and a mistake of two places is worse than one of one. Similar categories have no such order: smartphones
are near feature phones, both are far from sofas, and nothing lies "between" a sofa and a phone. An ordinal model has to
lay all categories out on one line and to pass through all that lies in between; with one shared direction for hundreds of
thresholds (cumulative link, CORAL, or regression on the category's number) it can't even represent three groups that are
all equally far from each other. A chain of questions with a direction of its own for each (CORN) can represent more, and
pays by learning one cut of the line at a time.

Use the similarity for what it is:

1. *Loss.* Cross entropy, with label shares or levels from the taxonomy (soft labels by tree distance, or a loss on every
   level) when a near miss should cost less than a far one. That trades little or no accuracy for milder mistakes.
2. *Evaluation.* Accuracy, accuracy of the first few, recall averaged over categories, and the height in the tree of what a
   mistake and the truth have in common. A distance between category numbers means nothing.
3. *Frequency.* Some categories have few products. Logit adjustment makes the softmax answer as if all were equally
   frequent, which is right when a mistake on a rare one costs as much, and costs accuracy over all products. A cosine
   in place of the last product is no remedy by itself.
4. *Serving.* Show the parent category, or ask, when no leaf is likely enough.

Ordinal regression is right when the label *is* a scale: condition grades, sizes, price bands, severity. Then one direction
uses the data of all grades at once, and far misses do cost more. The test isn't what the labels are called but the data:
does one direction of the features say all that they say about the label? The catch in comparing the two is the decision
rule: for distance on a scale take the median of a softmax, not its mode.

Symptom
-------
A question of choice: no symptom. Every option is an arm, in a world whose switch moves the categories' centres from a tree
to a line. With the tree, models of one direction are right hardly ever; on the line they overtake the softmax.

Diagnosis
---------
Is the label a scale (*ordinal*), a tree (*hierarchical*) or neither (*nominal*)? And before that: do categories get mixed up
for another reason? *label_noise*: a generative probe that is sure of one category is contradicted by the label; a softmax
hides that, since it learns the noise. *imbalance*: mistakes run toward the frequent. *missing_features*: half of the
categories can't be told from their nearest neighbour by anything that was logged. Scale: one direction, chosen on one half
of the rows, is as often right on the other as all directions. Tree: nearest neighbours are nearer than among centres drawn
without structure.

Remedy
------
The options, each against the softmax: two softmaxes told of the tree, one with a cosine head, one with adjusted logits
where frequencies are skewed, an ordinal-aware softmax (squared distance of cumulative chances), and three ordinal
models. Ordinal arms may use the better of two orders that a practitioner could find, the taxonomy's own and one by
seriation of the categories' means, and models of one direction get a wider network, so that all have as many
parameters.

Guard
-----
Soft labels may not lose accuracy, nor push the truth out of the first five. What adjusted logits win on rare categories may
cost a little accuracy over all products, not more.

Control
-------
On the line, where siblings in the tree are just neighbours, knowing the tree may not cost accuracy; where all
categories are equally frequent there is nothing to adjust, and adjusting changes nothing. The diagram over the
switch and the number of products a category shows where the answer changes: only close to the pure line.

Real data
---------
The same reviews of clothes twice: the garment's class (18 classes in six departments) and the stars given. Text as 128
components of its words, and again as the words themselves, whose vectors are trained along ("words"). No arm is tuned, and
a seed is another split of the same reviews. The class has no order to find.
The stars are a scale, and there the arms part by the decision, not by the likelihood alone.

Cost
----
A softmax over three hundred categories costs a product with its last layer, nothing beside the encoder. Losses by tree
distance add a table of categories by categories in training and nothing in serving.

Apply
-----
Fill `LabelledFeatures` with embeddings and labels (shuffled) and `ProbeMistakes` from any held-out softmax; `LabelGeometry`
says which kind of label it is. Then put `SoftmaxCE`, `LogitAdjusted`, `SoftLabelCE` or `TreeMarginalCE` with your
`Taxonomy`, or `Corn`, `Coral` or `RankRegression`, as `reading` of a network like `Categorise`, or of `CategoriseTexts`
where products are words. If it is a scale, try both on logged validation data, with the median as the softmax's answer.

What didn't work
----------------
Ordinal regression on category numbers, in any order. Tree losses as a way to more accuracy: they make mistakes milder,
not fewer. Judging a softmax on a scale by its mode, which makes it look worse than it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from recsys.claims.kinds import Keeps, Moves
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.label_geometry import LabelGeometry
from recsys.losses.categories import SoftLabelCE, SoftmaxCE, TreeMarginalCE
from recsys.losses.ordinal import Coral, Corn, RankRegression, SquaredEMD
from recsys.losses.rare_classes import CosineSoftmax, LogitAdjusted
from recsys.recipes.categories import Categorise, CategoriseTexts, Reading
from recsys.taxonomy import Taxonomy
from recsys.train.fit import Fit
from recsys.worlds.categories import Categories
from recsys.worlds.review_topics import ReviewTexts
from recsys.worlds.reviews import WomensReviews

Name = Literal[
    "softmax", "soft_labels", "tree_marginal", "logit_adjusted", "cosine", "emd", "corn", "coral", "regression"
]
NOMINAL: tuple[Name, ...] = ("softmax", "soft_labels", "tree_marginal", "logit_adjusted", "cosine")
ORDINAL: tuple[Name, ...] = ("corn", "coral", "regression")
NARROW_HEAD = {"coral", "regression"}  # one direction: the network below is widened to as many parameters


def reading(name: Name, tree: Taxonomy, knob: float | None) -> Reading:
    """`knob`: label smoothing, sharpness of soft labels or thresholds, weight of coarser levels, scale of cosines."""
    num = tree.num_leaves
    return {
        "softmax": lambda: SoftmaxCE(num=num, smoothing=knob or 0.0),
        "soft_labels": lambda: SoftLabelCE(taxonomy=tree, sharpness=knob or 3.0),
        "tree_marginal": lambda: TreeMarginalCE(taxonomy=tree, coarse=knob or 0.5),
        "logit_adjusted": lambda: LogitAdjusted(num=num),
        "cosine": lambda: CosineSoftmax(num=num, scale=knob or 16.0),
        "emd": lambda: SquaredEMD(num=num, strength=knob or 0.1),
        "corn": lambda: Corn(num=num),
        "coral": lambda: Coral(num=num, sharpness=knob or 30.0),
        "regression": lambda: RankRegression(num=num),
    }[name]()


def recipe(
    read: Name = "softmax",
    *,
    knob: float | None = None,
    order: Literal["taxonomy", "seriation"] = "taxonomy",
    steps: int = 400,
    learning_rate: float = 0.01,
    ceiling: bool = False,
    **world: Any,
) -> Categorise:
    texts = "words" in world
    if texts:
        made = ReviewTexts(label=world["words"])
    else:
        made = WomensReviews(label=world["reviews"]) if "reviews" in world else Categories(**world)
    return (CategoriseTexts if texts else Categorise)(
        world=made,
        reading=reading(read, made.taxonomy, knob),
        order=order,
        hidden=189 if read in NARROW_HEAD else 96,
        ceiling=ceiling,
        train=Fit(steps=steps, learning_rate=learning_rate),
    )


RATES = (0.01, 0.003)
ORDERS = {"learning_rate": RATES, "order": ("taxonomy", "seriation")}

PROBLEM = Problem(
    title="Three hundred categories: nominal or ordinal",
    area="taxonomy",
    choice=True,
    arms={
        "softmax": partial(recipe, "softmax"),
        "soft_labels": partial(recipe, "soft_labels"),
        "tree_marginal": partial(recipe, "tree_marginal"),
        "logit_adjusted": partial(recipe, "logit_adjusted"),
        "cosine": partial(recipe, "cosine"),
        "emd": partial(recipe, "emd"),
        "corn": partial(recipe, "corn"),
        "coral": partial(recipe, "coral"),
        "regression": partial(recipe, "regression"),
        "ceiling": partial(recipe, "softmax", ceiling=True, steps=1),
    },
    world={"on": {"scale": 0.0}, "chain": {"scale": 1.0}, "tail": {"scale": 0.0, "zipf": 1.0}},
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        Moves(metric="accuracy", arm="softmax", versus="corn", by=0.15),
        Moves(metric="accuracy", arm="softmax", versus="corn", by=0.05),
        Moves(metric="accuracy", arm="softmax", versus="coral", by=0.15),
        Moves(metric="accuracy", arm="softmax", versus="regression", by=0.15),
        Keeps(metric="accuracy", arm="emd", versus="softmax", within=0.03),
        Moves(metric="height_of_mistakes", arm="soft_labels", versus="softmax", by=-0.03),
        Moves(metric="height_of_mistakes", arm="tree_marginal", versus="softmax", by=-0.03),
        Keeps(metric="accuracy", arm="cosine", versus="softmax", within=0.03),
        Moves(metric="macro_recall", arm="logit_adjusted", versus="softmax", by=0.03, at="tail"),
        Keeps(metric="macro_recall", arm="cosine", versus="softmax", within=0.05, at="tail"),
        Moves(metric="rank_error", arm="regression", versus="softmax", by=-0.2, at="chain"),
        Moves(metric="rank_error", arm="coral", versus="softmax", by=-0.2, at="chain"),
        Moves(metric="accuracy", arm="regression", versus="softmax", by=0.0, at="chain"),
    ),
    guard=(
        Keeps(metric="accuracy", arm="soft_labels", versus="softmax", within=0.005, side="below"),
        Keeps(metric="accuracy@5", arm="soft_labels", versus="softmax", within=0.01, side="below"),
        Keeps(metric="accuracy", arm="logit_adjusted", versus="softmax", within=0.06, at="tail", side="below"),
    ),
    control=(
        Keeps(metric="accuracy", arm="logit_adjusted", versus="softmax", within=0.015),
        Keeps(metric="accuracy", arm="soft_labels", versus="softmax", within=0.01, at="chain", side="below"),
        Keeps(metric="accuracy", arm="tree_marginal", versus="softmax", within=0.01, at="chain", side="below"),
    ),
    detector=LabelGeometry(),
    cases=(
        Case(cause="hierarchical", arm="softmax", world={}),
        Case(cause="hierarchical", arm="softmax", world={"scale": 0.2, "per_class": 40}, fresh=True),
        Case(cause="ordinal", arm="softmax", world={"scale": 1.0}),
        Case(cause="ordinal", arm="softmax", world={"scale": 1.0, "span": 2.0}, fresh=True),
        Case(cause="nominal", arm="softmax", world={"sizes": (0.0, 0.0, 0.8)}),
        Case(cause="nominal", arm="softmax", world={"sizes": (0.1, 0.1, 0.6)}, fresh=True),
        Case(cause="label_noise", arm="softmax", world={"flipped": 0.2}),
        Case(cause="label_noise", arm="softmax", world={"flipped": 0.3, "per_class": 40}, fresh=True),
        Case(cause="imbalance", arm="softmax", world={"zipf": 1.0}),
        Case(cause="imbalance", arm="softmax", world={"zipf": 0.8}, fresh=True),
        Case(cause="missing_features", arm="softmax", world={"hidden": 1.0}),
        Case(cause="missing_features", arm="softmax", world={"hidden": 0.95}, fresh=True),
        Case(cause="label_noise|imbalance", arm="softmax", world={"flipped": 0.2, "zipf": 1.0}, fresh=True),
        Case(cause=HEALTHY, arm="softmax", world={"noise": 0.5}),
        Case(cause=HEALTHY, arm="softmax", world={"noise": 0.4, "per_class": 40}, fresh=True),
    ),
    ceiling="ceiling",
    tuning=Tuning(
        space=ORDERS,
        trials=4,
        seeds=(0,),
        per_setting=True,
        own={
            "softmax": {"learning_rate": RATES, "knob": (0.0, 0.05)},
            "soft_labels": {"learning_rate": RATES, "knob": (3.0, 5.0)},
            "tree_marginal": {"learning_rate": RATES, "knob": (0.5, 0.2)},
            "cosine": {"learning_rate": RATES, "knob": (16.0, 32.0)},
            "emd": ORDERS | {"knob": (0.1, 0.01)},
            "coral": ORDERS | {"knob": (30.0, 10.0)},
            "ceiling": {"learning_rate": RATES, "knob": (0.0, 0.05)},
        },
    ),
    sweep=Sweep(
        axes={"scale": (0.0, 0.7, 0.9, 0.95, 1.0), "per_class": (10, 60)},
        arms=("softmax", "regression"),
        metric="accuracy",
    ),
    unequal={"ceiling": "scored from the truth, without training"},
    real={
        f"{title}: {name}": partial(recipe, name, **world)
        for title, world, names in (
            ("class", {"reviews": "class"}, (*NOMINAL, "emd", *ORDINAL)),
            ("stars", {"reviews": "stars"}, ("softmax", "emd", *ORDINAL)),
            ("words, class", {"words": "class"}, ("softmax", "tree_marginal", "logit_adjusted", "corn", "regression")),
            ("words, stars", {"words": "stars"}, ("softmax", "corn", "coral")),
        )
        for name in names
    },
)
