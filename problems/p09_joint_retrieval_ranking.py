"""One narrow encoder for retrieval and ranking: what retrieval doesn't need is pushed out, and ranking needed it.

Question
--------
You are jointly training a retrieval and ranking model. Retrieval improves (recall@100↑), but ranking degrades (NDCG@10↓).
Shared encoder. What might be the issue?

Answer
------
The two losses want different things of the same vector. A contrastive loss with random negatives separates topics over the
whole corpus: it needs the coarse factors, at a sharp temperature and with large batches, so its gradient is the longer one by
far. Ranking orders items that all have the right topic: it needs the fine factors. In a narrow embedding the coarse factors
take the room. The gradients need not oppose each other for that, and here they don't.

What else may look like it. *Magnitude*: one loss drowns the other even though there is room for both. *Conflict*: the labels
of the two tasks disagree and one score must serve both. *False negatives*: hard mining pushes away items that the user would
have liked; with a corrected softmax that cost ranking nothing here. *An untrained head*: the encoder holds what ranking
needs, the head doesn't read it. *Candidate shift*: better retrieval brings harder lists, so NDCG on each system's own lists
falls with a ranker that is as good as before. Labels of different spaces, clicks for one and all items for the other, and a
cosine that discards magnitude add to the first of these.

What to do. Widen what is shared, or share the low layers and split late: a projection for each task, ranking's own towers
and cross features (PLE, Tang et al. 2020). Balance the losses: weights, gradient norms (GradNorm, Chen et al. 2018),
uncertainty. Stop one loss's gradient at the trunk. Take negatives from what was shown and not clicked, so that both losses
want the fine factors. PCGrad (Yu et al. 2020) only where gradients really oppose. Distil the ranker into the retriever.

Symptom
-------
At the same number of steps, the joint model retrieves as well as the model that only retrieves, and ranks far worse than the
model that only ranks. Twice the steps for both don't close the gap. NDCG is measured on fixed lists.

Diagnosis
---------
`SharedEncoderConflict` asks, from the cheapest to the dearest: are the lists the same? does a new head on the frozen encoder
bring ranking back? do equal gradient norms? does a wider embedding? do towers of
their own? A linear probe of item attributes shows what information is gone. The cosine of the two gradients stands beside,
as a row that decides nothing.

Remedy
------
A projection for each task on the shared trunk, with equal gradient norms; a wider shared embedding. The second is a change of
capacity and is reported as one.

Guard
-----
Recall stays near what the model that only retrieves has. Stopping retrieval's gradient, a small weight of its loss and, in
part, balance without a split pay with it: they are in the table.

Control
-------
With no fine factor there is nothing to push out and nothing is lost; with a wide embedding joint training costs ranking
nothing. PCGrad changes nothing, as it should where gradients don't oppose each other. A private projection of half the width
keeps the size of the vector and shows what splitting does without capacity.

Real data
---------
MovieLens-100k (for research only): lists of ten films that one person rated in a row. Rated is to be retrieved, liked is to be
ranked first; people and films are known by factors of what was watched and liked before. No arm is tuned, and a seed is
another draw of four fifths of the people. Nothing is lost by sharing here: what one watches and what one likes hardly differ
in these features, so there is little that two tasks could compete for, in eight dimensions or in thirty-two.

Cost
----
Private projections add the vectors of a second space to whatever stores item vectors, and some parameters; a wider embedding
makes the index larger by as much. Balancing by gradients costs a backward pass per task.

Apply
-----
The recipe's knobs are the sharing, the width, the weights, the balancer and the negatives. The detector needs GradientTrace and
Interventions of the two tasks (each metric with one thing changed) and CandidateSwap (old and new ranker on old and new lists,
all from logs); Negatives and AttributeProbe add rows. Where ranking has lost and nothing that was tried explains it, it
abstains and names the run that would.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from recsys.balance.balancer import Balancer
from recsys.balance.norm_ema import GradNormEMA
from recsys.balance.surgery import Surgery
from recsys.claims.kinds import Keeps, Moves, Reaches, Recovers
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.shared_encoder import SharedEncoderConflict
from recsys.heads.joint_towers import JointTowers
from recsys.recipes.joint import NDCG, RECALL, TrainJoint
from recsys.train.fit import Fit
from recsys.worlds.coarse_fine import CoarseFineWorld
from recsys.worlds.film_lists import FilmLists

STEPS, BATCH = 300, 32


def recipe(  # noqa: PLR0913 - the knobs under study
    *,
    sharing: Literal["shared", "private", "separate", "joined"] = "shared",
    width: int = 8,
    stop_gradient: bool = False,
    balancer: Balancer | None = None,
    retrieval: float = 1.0,
    ranking: float = 1.0,
    negatives: Literal["batch", "shown", "mined"] = "batch",
    head_from: float = 0.0,  # the fault: share of the steps before the ranking head learns
    learning_rate: float = 6e-3,
    longer: int = 1,
    truth: bool = False,
    **world: Any,
) -> TrainJoint:
    clip = None if sharing == "separate" else 1.0  # separate models' steps mustn't depend on each other
    return TrainJoint(
        world=FilmLists() if "films" in world else CoarseFineWorld(**world),
        towers=JointTowers(sharing=sharing, width=width, stop_gradient=stop_gradient),
        balancer=balancer,
        weights=(retrieval, ranking),
        negatives=negatives,
        head_from=head_from,
        train=Fit(steps=1 if truth else longer * STEPS, batch=BATCH, learning_rate=learning_rate, checks=8, clip=clip),
        scores="truth" if truth else "model",
    )


private = partial(recipe, sharing="private")
ROOMY = {"width": 32}
FILMS: dict[str, dict[str, Any]] = {
    "rank_only": {"retrieval": 0.0},
    "retrieval_only": {"ranking": 0.0},
    "joint": {},
    "private": {"sharing": "private"},
    "balanced": {"balancer": GradNormEMA()},
    "private_balanced": {"sharing": "private", "balancer": GradNormEMA()},
    "separate": {"sharing": "separate"},
}

PROBLEM = Problem(
    title="Joint retrieval and ranking: recall up, NDCG down",
    area="multi-task",
    arms={
        "rank_only": partial(recipe, retrieval=0.0),
        "retrieval_only": partial(recipe, ranking=0.0),
        "joint": recipe,
        "rank_only_longer": partial(recipe, retrieval=0.0, longer=2),
        "joint_longer": partial(recipe, longer=2),
        "private": private,
        "balanced": partial(recipe, balancer=GradNormEMA()),
        "private_balanced": partial(private, balancer=GradNormEMA()),
        "private_half": partial(private, balancer=GradNormEMA(), width=4),
        "wide": partial(recipe, width=24),
        "weighted": recipe,
        "pcgrad": partial(recipe, balancer=Surgery(method="pcgrad")),
        "shown_negatives": partial(recipe, negatives="shown"),
        "mined_negatives": partial(recipe, negatives="mined"),
        "private_shown": partial(private, negatives="shown"),
        "stop_gradient": partial(private, stop_gradient=True),
        "separate": partial(recipe, sharing="separate"),
        "ceiling": partial(recipe, truth=True),
    },
    world={"on": {}, "no_fine": {"fine": 0.0}, "roomy": ROOMY},
    symptom=(
        Moves(metric=NDCG, arm="joint", versus="rank_only", by=-0.05),
        Moves(metric=NDCG, arm="joint_longer", versus="rank_only_longer", by=-0.05),
        Keeps(metric=RECALL, arm="joint", versus="retrieval_only", within=0.01, side="below"),
        Reaches(metric="norm_ratio", arm="joint", at_least=30.0),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        Recovers(metric=NDCG, arm="private_balanced", broken="joint", healthy="rank_only", share=0.4),
        Keeps(metric=RECALL, arm="private_balanced", versus="joint", within=0.01, side="below"),
        Recovers(metric=NDCG, arm="wide", broken="joint", healthy="rank_only", share=0.8),
    ),
    guard=(
        Keeps(metric=RECALL, arm="private_balanced", versus="retrieval_only", within=0.01, side="below"),
        Keeps(metric=RECALL, arm="wide", versus="retrieval_only", within=0.01, side="below"),
    ),
    control=(
        Keeps(metric=NDCG, arm="pcgrad", versus="joint", within=0.01),
        Keeps(metric=NDCG, arm="joint", versus="rank_only", within=0.01, side="below", at="no_fine"),
        Keeps(metric=NDCG, arm="joint", versus="rank_only", within=0.01, side="below", at="roomy"),
    ),
    detector=SharedEncoderConflict(),
    cases=(
        Case(cause="shared_capacity", arm="joint", world={}),
        Case(cause="shared_capacity", arm="balanced", world={"width": 7}, fresh=True),
        Case(cause="scale_dominance", arm="joint", world=ROOMY | {"agree": 0.0}),
        Case(cause="scale_dominance", arm="joint", world={"width": 40, "agree": 0.1, "retrieval": 10.0}, fresh=True),
        Case(cause="gradient_conflict", arm="joint", world=ROOMY | {"agree": -1.0, "sharing": "joined"}),
        Case(
            cause="gradient_conflict", arm="joint", world={"width": 24, "agree": -0.7, "sharing": "joined"}, fresh=True
        ),
        Case(cause="candidate_shift", arm="joint", world=ROOMY | {"shift": 1.0}),
        Case(cause="candidate_shift", arm="joint", world={"width": 40, "shift": 1.5}, fresh=True),
        Case(cause="head_undertrained", arm="joint", world=ROOMY | {"head_from": 0.9}),
        Case(cause="head_undertrained", arm="joint", world={"width": 24, "head_from": 0.95}, fresh=True),
        Case(cause=HEALTHY, arm="joint", world=ROOMY),
        Case(cause=HEALTHY, arm="joint", world={"width": 40, "fine": 1.2}, fresh=True),
        Case(cause=HEALTHY, arm="mined_negatives", world=ROOMY, fresh=True),
        Case(cause="shared_capacity|head_undertrained", arm="joint", world={"head_from": 0.85}, fresh=True),
    ),
    ceiling="ceiling",
    tuning=Tuning(
        space={"learning_rate": (6e-3, 1e-2)},
        trials=2,
        seeds=(0,),
        own={"weighted": {"retrieval": (0.1, 0.3, 0.03), "learning_rate": (6e-3,)}},
    ),
    sweep=Sweep(axes={"width": (4, 8, 16, 32)}, arms=("rank_only", "joint", "private_balanced"), metric=NDCG),
    unequal={
        "private": "a second projection of the same width; private_half has the size of the shared one",
        "private_balanced": "a second projection of the same width; private_half has the size of the shared one",
        "private_shown": "a second projection of the same width",
        "stop_gradient": "a second projection of the same width",
        "wide": "capacity is the knob",
        "separate": "two models: what each task reaches by itself",
        "joint_longer": "steps are the knob",
        "rank_only_longer": "steps are the knob, and the control of joint_longer",
    },
    real={
        f"films, width {width}: {name}": partial(recipe, films=True, width=width, **knobs)
        for width in (8, 32)
        for name, knobs in FILMS.items()
    },
)
