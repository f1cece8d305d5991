"""placeholder"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from recsys.claims.kinds import Keeps, Moves
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.label_geometry import LabelGeometry
from recsys.losses.categories import SoftLabelCE, SoftmaxCE, TreeMarginalCE
from recsys.losses.ordinal import Coral, Corn, RankRegression, SquaredEMD
from recsys.recipes.categories import Categorise, Reading
from recsys.taxonomy import Taxonomy
from recsys.train.fit import Fit
from recsys.worlds.categories import Categories

Name = Literal["softmax", "soft_labels", "tree_marginal", "emd", "corn", "coral", "regression"]
NARROW_HEAD = {"coral", "regression"}  # one direction: the network below is widened to as many parameters


def reading(name: Name, tree: Taxonomy, knob: float | None) -> Reading:
    """`knob`: label smoothing, sharpness of soft labels or thresholds, weight of coarser levels."""
    num = tree.num_leaves
    return {
        "softmax": lambda: SoftmaxCE(num=num, smoothing=knob or 0.0),
        "soft_labels": lambda: SoftLabelCE(taxonomy=tree, sharpness=knob or 3.0),
        "tree_marginal": lambda: TreeMarginalCE(taxonomy=tree, coarse=knob or 0.5),
        "emd": lambda: SquaredEMD(num=num),
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
    made = Categories(**world)
    return Categorise(
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
        "emd": partial(recipe, "emd"),
        "corn": partial(recipe, "corn"),
        "coral": partial(recipe, "coral"),
        "regression": partial(recipe, "regression"),
        "ceiling": partial(recipe, "softmax", ceiling=True, steps=1),
    },
    world={"on": {"scale": 0.0}, "chain": {"scale": 1.0}},
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        Moves(metric="accuracy", arm="softmax", versus="corn", by=0.15),
        Moves(metric="accuracy", arm="softmax", versus="coral", by=0.15),
        Moves(metric="accuracy", arm="softmax", versus="regression", by=0.15),
        Moves(metric="height_of_mistakes", arm="soft_labels", versus="softmax", by=-0.03),
        Moves(metric="rank_error", arm="regression", versus="softmax", by=-0.2, at="chain"),
        Moves(metric="rank_error", arm="coral", versus="softmax", by=-0.2, at="chain"),
        Moves(metric="accuracy", arm="regression", versus="softmax", by=0.0, at="chain"),
    ),
    guard=(
        Keeps(metric="accuracy", arm="soft_labels", versus="softmax", within=0.005, side="below"),
        Keeps(metric="accuracy@5", arm="soft_labels", versus="softmax", within=0.01, side="below"),
    ),
    detector=LabelGeometry(),
    cases=(
        Case(cause="hierarchical", arm="softmax", world={}),
        Case(cause="hierarchical", arm="softmax", world={"scale": 0.2, "per_class": 40}, fresh=True),
        Case(cause="ordinal", arm="softmax", world={"scale": 1.0}),
        Case(cause="ordinal", arm="softmax", world={"scale": 1.0, "span": 2.0}, fresh=True),
        Case(cause="nominal", arm="softmax", world={"steps": (0.0, 0.0, 0.8)}),
        Case(cause="nominal", arm="softmax", world={"steps": (0.1, 0.1, 0.6)}, fresh=True),
        Case(cause="label_noise", arm="softmax", world={"flipped": 0.2}),
        Case(cause="label_noise", arm="softmax", world={"flipped": 0.3, "per_class": 40}, fresh=True),
        Case(cause="imbalance", arm="softmax", world={"zipf": 1.0}),
        Case(cause="imbalance", arm="softmax", world={"zipf": 1.3}, fresh=True),
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
        per_setting=True,
        own={
            "softmax": {"learning_rate": RATES, "knob": (0.0, 0.05)},
            "soft_labels": {"learning_rate": RATES, "knob": (3.0, 5.0)},
            "tree_marginal": {"learning_rate": RATES, "knob": (0.5, 0.2)},
            "coral": ORDERS | {"knob": (30.0, 10.0)},
            "ceiling": {"learning_rate": RATES, "knob": (0.0, 0.05)},
        },
    ),
    sweep=Sweep(
        axes={"scale": (0.0, 0.7, 0.9, 0.97, 1.0), "per_class": (10, 60)},
        arms=("softmax", "corn", "regression"),
        metric="accuracy",
    ),
    unequal={"ceiling": "scored from the truth, without training"},
)
