"""A shared tower whose tasks swing and lose: unequal magnitudes and competition are two diseases with two cures.

Question
--------
You train a multi-task model with shared towers, but notice oscillating performance across tasks during training. How can
PCGrad or GradNorm help?

Answer
------
They answer different questions, so first find out which one is being asked.

*Unequal magnitudes.* The loss of a task in seconds has gradients thousands of times longer than a cross entropy's. The
shared layer then moves as that task says, whatever the others want, and their heads run after features that somebody else
is changing: they swing and lose. GradNorm (Chen et al. 2018) learns a weight for each loss so that the gradients at the
shared layer have equal length, longer for tasks that train slowly. It moves slowly itself: a ratio of thousands is nine
units of a log weight. Started from the norms of the first step it is as good as the simplest cure, which is to divide each
loss by a running mean of its gradient's norm, and that is no better than a well-chosen static weight or a standardised target.

*Competing directions.* Where tasks need more than the shared layer can hold, a step for one undoes a step of another. PCGrad
(Yu et al. 2020) takes out of each task's gradient the component that opposes another's, then sums, so the smaller task is no
longer pushed back. That gives it a share of the layer even when it is far outweighed, without asking what the share should
be. It can't make room: a wider layer or towers of a task's own (PLE, Tang et al. 2020) remove the competition itself. CAGrad
(Liu et al. 2021) and MGDA are relatives that also look after the worst-off task.

Together: normalise first, project second. After normalising, projection has little left to do here. Both cost a backward
pass per task. Tuned static weights are often as good (Kurin et al. 2022; Xin et al. 2022), so units, learning rate and
batch mixing come first; neither method helps if the cause is a learning rate that is too high, batches of one task at a time,
or an evaluation set too small to show less than swings.

Symptom
-------
Click and like fall far below what a model of their own reaches, and their validation curves move more from check to check,
while dwell, measured in seconds, is as good as alone. Oscillation is the standard deviation of a curve's steps over the last
two thirds of training, on one fixed validation set.

Diagnosis
---------
Ratio of gradient norms first, interventions second, cosines last: mini-batch noise makes about half of all cosines negative
in every world here, with competition or without. Equal the norms: if that brings the tasks back to what they reach alone, it
was magnitude. If a task stays below, double the shared layer: if that helps, capacity; if only own towers do, the tasks want
opposite things of the same parameters. Rivals: all tasks gain at a tenth of the learning rate; a task's rows come in
blocks; the curve moves no more than resampling the evaluation rows would move it.

Remedy
------
Magnitude: divide losses by the running norm of their gradients, or GradNorm from the first step's norms, or a static weight,
or a standardised target. Competition in a narrow layer: PCGrad lifts both small tasks and leaves the large one alone; own
towers lift them all the way.

Guard
-----
Dwell may not pay for it: where the layer is wide enough it loses next to nothing, and PCGrad never touches it.

Control
-------
Where dwell is in units that make its error of the size of a cross entropy, no balancer changes click or like. PCGrad in the
world of magnitudes helps less than a weight does: that it helps at all is no sign of conflict. Uncertainty weighting and
GradNorm's published start stand beside for what they don't reach in these steps, and a grid of static weights, picked with
the truth in hand, for what a scalar could have done in the narrow world.

Cost
----
`backwards` is the number of backward passes a step: one for a sum, for static weights that are known beforehand and for a
standardised target; one per task for whatever looks at gradients. A balancer's own arithmetic is on a matrix of tasks by
tasks. CPU seconds of every arm are in the table.

Apply
-----
Balancers are values in recsys/balance, each a `Balanced(...)` away from any Fit: they need the shared parameters and the
vector of losses. `OscillationTriage` reads GradientTrace (norms, cosines and rows per task at some steps), TaskCurves
(validation per task, and its resampling noise) and Interventions (what became of each task with one thing changed); all
three can be filled from one's own runs. Without interventions it abstains and names the run that would decide.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from recsys.balance.balancer import Balancer
from recsys.balance.cagrad import CAGrad
from recsys.balance.chain import Chain
from recsys.balance.gradnorm import GradNorm
from recsys.balance.norm_ema import GradNormEMA
from recsys.balance.static import Static
from recsys.balance.surgery import Surgery
from recsys.balance.targets import TargetScaler
from recsys.balance.uncertainty import Uncertainty
from recsys.claims.kinds import Claim, Keeps, Moves, Reaches
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.oscillation import OscillationTriage
from recsys.heads.task_towers import TaskTowers
from recsys.recipes.multitask import TrainTasks
from recsys.recipes.task_grid import StaticGrid
from recsys.samplers.tasks import MixedTasks, TaskBlocks
from recsys.train.fit import Fit
from recsys.worlds.seesaw import SeesawWorld

STEPS, BATCH, CHECKS = 500, 384, 30
GRID = ((1.0, 1.0, 1.0), *((1.0, like, dwell) for like in (0.3, 1.0, 3.0, 10.0) for dwell in (0.6, 0.2, 0.06, 0.02)))


def recipe(  # noqa: PLR0913 - the knobs under study
    *,
    balancer: Balancer | None = None,
    sharing: Literal["shared", "joined", "ple", "alone"] = "shared",
    width: int = 8,
    target: Literal["raw", "standard", "log1p"] = "raw",
    dwell_weight: float | None = None,  # a static weight instead of a balancer
    learning_rate: float = 3e-3,
    too_fast: float = 1.0,  # the fault: a factor of the learning rate
    block: int = 0,  # the fault: steps for which a batch holds one task's rows
    purity: float = 1.0,
    truth: bool = False,
    grid: tuple[tuple[float, ...], ...] = (),
    **world: Any,
) -> TrainTasks:
    static = None if dwell_weight is None else Static(weights=(1.0, 1.0, dwell_weight))
    clip = None if sharing == "alone" else 1.0  # alone, a task's step mustn't depend on another task's model
    knobs: dict[str, Any] = {
        "world": SeesawWorld(**world),
        "towers": TaskTowers(sharing=sharing, width=width),
        "balancer": balancer or static,
        "target": TargetScaler(kind=target),
        "sampler": TaskBlocks(length=block, purity=purity) if block else MixedTasks(),
        "train": Fit(
            steps=1 if truth else STEPS, batch=BATCH, learning_rate=learning_rate * too_fast, checks=CHECKS, clip=clip
        ),
        "scores": "truth" if truth else "model",
    }
    return StaticGrid(grid=grid, **knobs) if grid else TrainTasks(**knobs)


def restored(arm: str) -> tuple[Claim, ...]:
    return tuple(Moves(metric=f"auc[{task}]", arm=arm, versus="sum", by=0.15) for task in ("click", "like"))


def calmed(arm: str) -> tuple[Claim, ...]:
    return tuple(
        Moves(metric=f"oscillation[{task}]", arm=arm, versus="sum", by=-0.5, relative=True)
        for task in ("click", "like")
    )


SECONDS, MINUTES = {"scale": 30.0}, {"scale": 0.5}  # the unit that half a minute's dwell is measured in
NARROW = {"scale": 5.0, "conflict": 1.0, "width": 3}
EQUAL = Chain(first=GradNormEMA(), then=Surgery())

PROBLEM = Problem(
    title="Tasks of a shared tower swing: magnitude or competition",
    area="multi-task",
    arms={
        "alone": partial(recipe, sharing="alone"),
        "sum": recipe,
        "static": partial(recipe, dwell_weight=1 / 900),
        "standardised": partial(recipe, target="standard"),
        "log_target": partial(recipe, target="log1p"),
        "uncertainty": partial(recipe, balancer=Uncertainty()),
        "gradnorm": partial(recipe, balancer=GradNorm()),
        "gradnorm_from_norms": partial(recipe, balancer=GradNorm(start_at="norms")),
        "norm_ema": partial(recipe, balancer=GradNormEMA()),
        "pcgrad": partial(recipe, balancer=Surgery(method="pcgrad")),
        "norm_pcgrad": partial(recipe, balancer=EQUAL),
        "cagrad": partial(recipe, balancer=CAGrad()),
        "own_towers": partial(recipe, sharing="ple"),
        "static_grid": partial(recipe, grid=GRID),
        "ceiling": partial(recipe, truth=True),
    },
    world={
        "on": SECONDS,
        "narrow": NARROW,
        "off": MINUTES,
    },
    symptom=(
        Moves(metric="auc[click]", arm="sum", versus="alone", by=-0.15),
        Moves(metric="auc[like]", arm="sum", versus="alone", by=-0.15),
        Keeps(metric="spearman[dwell]", arm="sum", versus="alone", within=0.01, side="below"),
        Moves(metric="oscillation[click]", arm="sum", versus="alone", by=1.0, relative=True),
        Reaches(metric="norm_ratio", arm="sum", at_least=100.0),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        *restored("norm_ema"),
        *restored("static"),
        *restored("gradnorm_from_norms"),
        *calmed("norm_ema"),
        Moves(metric="auc[worse]", arm="pcgrad", versus="sum", by=0.08, at="narrow"),
        Keeps(metric="spearman[dwell]", arm="pcgrad", versus="sum", within=0.01, side="below", at="narrow"),
        Moves(metric="auc[worse]", arm="own_towers", versus="sum", by=0.08, at="narrow"),
        Keeps(metric="spearman[dwell]", arm="norm_ema", versus="sum", within=0.01, side="below"),
        Keeps(metric="spearman[dwell]", arm="static", versus="sum", within=0.01, side="below"),
    ),
    guard=(
        *(
            Keeps(metric="spearman[dwell]", arm=arm, versus="alone", within=0.02, side="below")
            for arm in ("norm_ema", "static", "gradnorm_from_norms")
        ),
        Keeps(metric="spearman[dwell]", arm="pcgrad", versus="alone", within=0.02, side="below", at="narrow"),
        Moves(metric="auc[worse]", arm="pcgrad", versus="static_grid", by=0.0, at="narrow"),
    ),
    control=(
        Moves(metric="auc[worse]", arm="pcgrad", versus="norm_ema", by=-0.0),
        *(
            Keeps(metric=f"auc[{task}]", arm=arm, versus="sum", within=0.01, at="off")
            for arm in ("norm_ema", "gradnorm", "gradnorm_from_norms", "pcgrad", "norm_pcgrad")
            for task in ("click", "like")
        ),
    ),
    detector=OscillationTriage(),
    cases=(
        Case(cause="scale_dominance", arm="sum", world=SECONDS),
        Case(cause="scale_dominance", arm="sum", world={"scale": 100.0, "conflict": 0.3}, fresh=True),
        Case(cause="shared_capacity", arm="sum", world=MINUTES | {"conflict": 1.0, "width": 2}),
        Case(cause="shared_capacity", arm="sum", world={"scale": 1.0, "conflict": 0.8, "width": 2}, fresh=True),
        Case(cause="gradient_conflict", arm="sum", world=MINUTES | {"conflict": 0.8, "sharing": "joined"}),
        Case(cause="gradient_conflict", arm="sum", world={"scale": 0.3, "sharing": "joined"}, fresh=True),
        Case(cause="learning_rate", arm="sum", world=MINUTES | {"too_fast": 15.0}),
        Case(cause="learning_rate", arm="sum", world=MINUTES | {"too_fast": 20.0, "conflict": 0.7}, fresh=True),
        Case(cause="blocked_batches", arm="sum", world=MINUTES | {"block": 30}),
        Case(cause="blocked_batches", arm="sum", world=MINUTES | {"block": 50}, fresh=True),
        Case(cause="evaluation_noise", arm="sum", world=MINUTES | {"valid_rows": 150}),
        Case(cause="evaluation_noise", arm="sum", world={"scale": 0.3, "valid_rows": 100}, fresh=True),
        Case(
            cause="scale_dominance|shared_capacity",
            arm="sum",
            world={"scale": 20.0, "conflict": 0.9, "width": 2},
            fresh=True,
        ),
        Case(cause=HEALTHY, arm="sum", world=MINUTES),
        Case(cause=HEALTHY, arm="sum", world={"scale": 0.7, "conflict": 0.3}, fresh=True),
    ),
    ceiling="ceiling",
    tuning=Tuning(
        space={"learning_rate": (3e-3, 6e-3, 1e-2)},
        trials=3,
        seeds=(0,),
        per_setting=True,
        own={
            "static": {"dwell_weight": (1 / 900, 1 / 90, 1 / 9000)},
            "static_grid": {"learning_rate": (3e-3,)},  # seventeen models as it is
        },
    ),
    sweep=Sweep(
        axes={"scale": (0.5, 5.0, 30.0), "width": (2, 3, 8)},
        arms=("sum", "norm_ema", "pcgrad"),
        metric="auc[worse]",
    ),
    unequal={
        "alone": "three models of the shared one's size: what each task reaches without the others, not a remedy",
        "static_grid": "one of seventeen models, picked with the truth",
    },
)
