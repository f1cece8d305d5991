"""A better retriever breaks the ranker behind it: the contract between two stages.

Question
--------
You fine-tune your user-item towers with InfoNCE and ANN recall@100 improves. But downstream ranking quality degrades. You
suspect ANN misalignment. What are the most likely failure points?

Answer
------
Retrieval and ranking are two models with a contract between them, and a fine-tuned retriever changes all of it at once. In
the order in which to look:

- *The metric.* ANN recall against exact search of the same vectors is the fidelity of the index, not relevance: it can rise
  because the vectors became easier to index. And recall of clicks among a hundred says nothing about the order inside them.
- *A stale or mixed index.* The query tower is new, all or a part of the item vectors are old. Encode the items again and
  compare with what is stored: cosines of one up to rounding, or not; all of them off is a stale index, a part a mixed one.
  Vectors, query tower and checkpoint belong in one versioned bundle that goes live as a whole.
- *A coarse index.* Fewer lists are visited, or codes are shorter, than the new vectors need: compare with exact search.
- *The score contract.* The ranker takes the retrieval score (or the vectors) as a feature. Fine-tuning changes its temperature,
  its normalisation, its distribution: the old ranker reads a number that it never saw and weighs it as if it knew it. Feed it
  what doesn't move (a rank, a score standardised within the list), map the new distribution onto the old one, or retrain.
- *Candidate shift.* The ranker was trained on what the old retriever returned. The new one returns items of a kind that the
  ranker has never had to judge, such as look-alikes without clicks: its weights on what tells them apart are what
  initialisation left. Nothing short of retraining on the new candidates (and some random ones) helps.
- *The objective.* Too much weight on mined negatives, most of which are unlabelled positives, or a far too small temperature,
  teaches the towers to push away what is relevant. Then no ranker and no mapping bring it back: mine with care, mix in random
  negatives, correct for popularity (logQ), distil the ranker into the retriever, and gate releases on the whole pipeline's
  NDCG, never on the recall of a stage.

Symptom
-------
Relevant recall among the hundred candidates rises against the old pipeline, NDCG of the ten that are shown falls. Ideal and
gains come from the whole catalogue: normalised within the candidates, a loss of recall would be invisible, and so would a
gain.

Diagnosis
---------
Audits first, then exchanges of one stage at a time on logged queries. The index is compared with fresh vectors and with
exact search; the distribution of the score feature in training with the live one. The stability index of the feature alone
convicts nobody: after any fine-tuning it is large. The exchanges decide: old retriever and old ranker, the new retriever
with the score mapped onto its old distribution, with a ranker retrained on the new candidates, over an exact index of fresh
vectors. Whatever exchange restores the score names the stage; if none does, the retriever's objective is at fault.

Remedy
------
Four for the contract, over the same candidates: a quantile map, scores standardised within a list, the old score recomputed
for the new candidates (which needs both versions online), a retrained ranker with as many steps and as much data as the old
one had. For look-alikes only retraining helps; for a stale index, a new one.

Guard
-----
Every arm ranks a hundred candidates of an exact index, so the cost class is one; relevant recall stays above the old
retriever's and the index stays faithful.

Control
-------
If the fine-tuned retriever exports its scores on the old scale (world off), the four remedies of the contract are neutral.

Cost
----
A quantile map is a table look-up a candidate, a standardised score a mean and a deviation a list. The old score needs the old
vectors in memory beside the new. A retrained ranker needs logs of the new candidates, which exist only after some of them
have been shown.

Apply
-----
`recsys.calibrate.scores` has the maps, `TwoStage` and `Retriever` the knobs. For a diagnosis give `IndexAudit` the stored
vectors, the same items encoded by the checkpoint that is live, and, for some queries, what the index and an exact search find;
`ScoreAudit` the score feature from the ranker's training set and from today's requests; `StageSwap` the logged score of each
query (clicks in the ten that were shown, discounted) under as many exchanges as can be replayed. Index faults are named from the
first alone; without exchanges the rest is left open.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from recsys.claims.kinds import Keeps, Moves, Reaches, Recovers
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.misalignment import MisalignmentDetector
from recsys.recipes.towers import Retriever
from recsys.recipes.two_stage import TwoStage
from recsys.worlds.latent_search import LatentSearch

DRIFTED, SOUND = {"drift": 20.0}, {"drift": 1.0}
LOOKALIKES = {"drift": 1.0, "accessories": 0.6}
STALE = {"drift": 1.0, "stale": 1.0}
CONTRACTS = ("quantile", "zscore", "old_score")


def recipe(  # noqa: PLR0913 - the knobs under study
    *,
    deployed: bool = True,
    drift: float = 20.0,
    stale: float = 0.0,
    probes: int | None = None,
    mined: float = 0.0,
    distilled: float = 0.0,
    contract: Any = "raw",
    ranker: Any = "old",
    best: bool = False,
    **world: Any,
) -> TwoStage:
    """A fine-tuned retriever in front of the old ranker, its scores exported with the temperature folded in."""
    return TwoStage(
        world=LatentSearch(**world),
        retriever=Retriever(mined=mined, distilled=distilled),
        deployed=deployed,
        drift=drift,
        stale=stale,
        probes=probes,
        contract=contract,
        ranker=ranker,
        best=best,
    )


def rebuilt(**given: Any) -> TwoStage:
    return recipe(**{**given, "stale": 0.0, "probes": None})


PROBLEM = Problem(
    title="A better retriever breaks the ranker behind it",
    area="vectors and indexes",
    arms={
        "healthy": partial(recipe, deployed=False),
        "baseline": recipe,
        **{contract: partial(recipe, contract=contract) for contract in (*CONTRACTS, "rank")},
        "retrained": partial(recipe, ranker="retrained"),
        "distilled": partial(recipe, ranker="retrained", distilled=1.0),
        "rebuilt": rebuilt,
        "hard_only": partial(recipe, mined=0.6),
        "ceiling": partial(recipe, best=True),
    },
    world={"on": DRIFTED, "off": SOUND, "lookalikes": LOOKALIKES, "stale": STALE},
    symptom=(
        Moves(metric="recall@100", arm="baseline", versus="healthy", by=0.03),
        Moves(metric="ndcg@10", arm="baseline", versus="healthy", by=-0.06),
        Moves(metric="ndcg@10", arm="baseline", versus="healthy", by=-0.06, at="lookalikes"),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        *(
            Recovers(metric="ndcg@10", arm=arm, broken="baseline", healthy="healthy", share=0.8)
            for arm in (*CONTRACTS, "rank", "retrained", "distilled")
        ),
        Moves(metric="ndcg@10", arm="retrained", versus="baseline", by=0.06),
        Moves(metric="ndcg@10", arm="retrained", versus="baseline", by=0.06, at="lookalikes"),
        Moves(metric="ndcg@10", arm="quantile", versus="retrained", by=-0.06, at="lookalikes"),
        Moves(metric="ndcg@10", arm="rebuilt", versus="baseline", by=0.03, at="stale"),
    ),
    guard=(
        *(Reaches(metric="fidelity", arm=arm, at_least=0.95) for arm in ("quantile", "retrained")),
        *(
            Keeps(metric="recall@100", arm=arm, versus="healthy", within=0.01, side="below")
            for arm in ("quantile", "retrained", "distilled")
        ),
    ),
    control=tuple(
        Keeps(metric="ndcg@10", arm=arm, versus="baseline", within=0.03, at="off")
        for arm in ("quantile", "zscore", "rank", "retrained")
    ),
    detector=MisalignmentDetector(),
    cases=(
        Case(cause="score_contract", arm="baseline", world=DRIFTED),
        Case(cause="score_contract", arm="baseline", world={"drift": 9.0}, fresh=True),
        Case(cause="candidate_shift", arm="baseline", world=LOOKALIKES),
        Case(
            cause="candidate_shift",
            arm="baseline",
            world={"drift": 1.0, "accessories": 0.45, "penalty": 7.0},
            fresh=True,
        ),
        Case(cause="stale_index", arm="baseline", world=STALE),
        Case(cause="stale_index", arm="zscore", world={"drift": 3.0, "stale": 0.97}, fresh=True),
        Case(cause="mixed_index", arm="baseline", world={"drift": 1.0, "stale": 0.5}),
        Case(cause="mixed_index", arm="baseline", world={"drift": 1.0, "stale": 0.15}, fresh=True),
        Case(cause="coarse_index", arm="baseline", world={"drift": 1.0, "probes": 1}),
        Case(cause="coarse_index", arm="baseline", world={"drift": 1.0, "probes": 4}, fresh=True),
        Case(cause="objective", arm="hard_only", world=SOUND),
        Case(cause="objective", arm="hard_only", world={"drift": 1.0, "mined": 0.7}, fresh=True),
        Case(cause="score_contract|candidate_shift", arm="baseline", world={"accessories": 0.35}, fresh=True),
        Case(cause=HEALTHY, arm="baseline", world=SOUND),
        Case(cause=HEALTHY, arm="retrained", world=DRIFTED),
        Case(cause=HEALTHY, arm="rank", world={"drift": 12.0}, fresh=True),
    ),
    ceiling="ceiling",
    sweep=Sweep(axes={"drift": (1.0, 4.0, 10.0, 20.0)}, arms=("baseline", "quantile"), metric="ndcg@10"),
)
