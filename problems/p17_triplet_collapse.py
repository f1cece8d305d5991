"""Hard negatives pull a triplet space into one point, and unit length hides it.

Question
--------
You observe that your item embeddings collapse near origin after triplet training. What might be the issue?

Answer
------
A triplet loss is max(0, d(anchor, positive) - d(anchor, negative) + margin). Mapping everything to one point gives every
triplet exactly the margin (with the soft margin, ln 2). That is a poor minimum, but a better one than any space in which the
chosen negative is usually nearer than the chosen positive. With batch-hard mining (the farthest positive, the nearest
negative) and noisy items, that is what the first steps look like, so shrinking is downhill: the gradient of a hard triplet
points to where the other items are, distances fall, and with squared distances the gradient falls with them, so nothing
leads out again. Without normalisation the point drifts to the origin, since shorter vectors are the quickest way to smaller
distances.

What else may be at work, in the order in which it is checked:

- *Too high a learning rate.* Weights and norms explode, or units die; the loss is far above the margin.
- *Weight decay.* It shrinks the weights whatever the miner does; the loss also ends at the margin.
- *False negatives.* Second listings of one product under different labels are the hardest negatives there are, and no
  space can tell them apart: batch-hard training collapses on data on which it would have worked.
- *The miner.* Hardest negatives from the first step on noisy items.
- *Few directions.* A bottleneck, or a head of low rank: vectors keep their length and their distances and lie in a
  plane.
- *Easy negatives.* Random triplets are soon solved: no loss, no gradient. The space is not collapsed, it stopped learning.
- *No positives.* Random batches of a catalogue with many classes hold hardly a pair: sample P classes and K items of each.
- *A margin that doesn't fit the scale.* On the unit sphere squared distances end at four and most pairs lie near two.

Remedies: semi-hard negatives (the nearest beyond the positive), negatives drawn evenly over distances, or a softmax over
the batch (InfoNCE) or multi-similarity, which look at all negatives at once; unit vectors with a margin that fits them;
averages over the losses that aren't zero; a repulsion of all vectors (uniformity); near duplicates out of the negatives.
Unit length alone is not a remedy: the point moves from the origin onto the sphere, all norms are one, and the cosine of any
two items is one as well.

Symptom
-------
Recall@1 of unseen items is near chance and below that of the features themselves, untrained. The loss stands at the margin to
several digits, every anchor is active, and the distances between vectors are a small part of their length. The effective rank
stays high: it is free of scale and doesn't see the collapse. Where the learning rate is small (arm small_rate) the vectors go
to the origin first and their directions follow later.

Diagnosis
---------
Lengths, mean distance over mean length, mean cosine and effective rank of the vectors; loss over margin, active share,
gradient and weight norms of the trace; the share of items with all but a copy under another label. Two interventions decide
what these leave open: short repetitions from the same start with another miner, and without the copies, compared by recall on
validation items. Frozen weights with semi-hard triplets tell solved from easy: where training has nothing left to learn and
semi-hard triplets would have, the negatives are too easy.

Remedy
------
Semi-hard, distance-weighted, InfoNCE, multi-similarity and a repulsion, each with the same steps, rate and batches as the
baseline. l2_only is the popular remedy that fails. Hard negatives after semi-hard ones (curriculum) collapse again where
items are this noisy: its recall is better than its shape. deduplicated cures false negatives in the world that has them.

Guard
-----
No class pays: recall of the small and the large classes stays above that of the untrained features.

Control
-------
With quiet items (world off) batch-hard mining works, and the remedies are neutral.

Cost
----
Steps, batches and parameters are the same. Mining is one matrix product of the batch with itself, forward only; a
distance-weighted draw needs the logarithms of all pairs on top, InfoNCE and multi-similarity a backward through all pairs.

Apply
-----
`recsys.losses.triplet.Triplet(negative="semihard")`, `ClassInfoNCE`, `MultiSimilarity` take vectors and labels of a batch;
`PKSampler` makes batches. For a diagnosis, give `EmbeddingHealth` the vectors as the tower makes them (before the index
normalises them), with labels and the encoder's inputs if there are any: shape alone finds few directions and says that a
space is collapsed. `TrainingTrace` (loss, active share, gradient and weight norms of each step, from
`recsys.train.record.Recorder`) and `Replays` name the cause.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from recsys.claims.kinds import Keeps, Moves, Reaches
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep
from recsys.diagnose.collapse import CollapseDetector
from recsys.diagnose.diagnosis import HEALTHY
from recsys.encoders.feature_tower import FeatureTower
from recsys.losses.class_infonce import ClassInfoNCE
from recsys.losses.multi_similarity import MultiSimilarity
from recsys.losses.triplet import Curriculum, EasyNegatives, Triplet
from recsys.recipes.metric_learning import MetricLearning
from recsys.samplers.pk import PKSampler
from recsys.train.fit import Fit
from recsys.worlds.latent import LatentClasses, Rendering

NOISY, QUIET = {"noise": 1.9}, {"noise": 0.8}
COPIES = {"noise": 0.8, "duplicates": 0.2}
CHANCE = 0.0102  # of two held-out items to be of one class, by the sizes of the classes
REMEDIES = ("semihard", "distance", "infonce", "multi_similarity", "uniformity")


def recipe(  # noqa: PLR0913 - the knobs under study
    *,
    negative: str = "hard",
    margin: float | None = 1.0,
    metric: str = "squared",
    loss: Any = None,
    active: bool = True,
    normalise: bool = False,
    rank: int | None = None,
    uniformity: float = 0.0,
    drop_copies: bool = False,
    learning_rate: float = 1e-2,
    weight_decay: float = 0.0,
    scored: Any = "tower",
    noise: float = 1.9,
    style: float = 6.0,
    **world: Any,
) -> MetricLearning:
    """Batch-hard triplets of squared distances without normalisation, unless told otherwise."""
    mined: Any = {"negative": negative, "positive": "hard" if negative == "hard" else "random"}
    return MetricLearning(
        world=LatentClasses(rendering=Rendering(noise=noise, style=style), **world),
        tower=FeatureTower(normalise=normalise, rank=rank),
        loss=loss or Triplet(**mined, margin=margin, metric=metric),  # type: ignore[arg-type]
        sampler=PKSampler(classes=24, items=6),
        active=active,
        uniformity=uniformity,
        drop_copies=drop_copies,
        train=Fit(steps=400, learning_rate=learning_rate, weight_decay=weight_decay, checks=20),
        scored=scored,
    )


on_sphere = partial(recipe, normalise=True, margin=0.2)


def easy(*, margin: float = 0.2, **given: Any) -> MetricLearning:
    return recipe(loss=EasyNegatives(margin=margin), normalise=True, active=False, **given)


PROBLEM = Problem(
    title="Hard negatives collapse the item space",
    area="debugging",
    arms={
        "features": partial(recipe, scored="features"),
        "baseline": recipe,
        "l2_only": on_sphere,
        "soft_margin": partial(recipe, margin=None),
        "small_rate": partial(recipe, learning_rate=3e-3),
        "semihard_raw": partial(recipe, negative="semihard"),
        "semihard": partial(on_sphere, negative="semihard"),
        "distance": partial(on_sphere, negative="distance", metric="euclidean"),
        "infonce": partial(recipe, loss=ClassInfoNCE(), normalise=True),
        "multi_similarity": partial(recipe, loss=MultiSimilarity(), normalise=True),
        "uniformity": partial(on_sphere, uniformity=1.0),
        "curriculum": partial(recipe, loss=Curriculum(switch=200), normalise=True),
        "deduplicated": partial(recipe, drop_copies=True),
        "ceiling": partial(recipe, scored="truth"),
        "decay": partial(recipe, negative="semihard", weight_decay=60.0),
        "hot": partial(recipe, negative="semihard", learning_rate=0.3),
        "low_rank": partial(on_sphere, negative="semihard", rank=2),
        "easy": easy,
    },
    world={"on": NOISY, "off": QUIET, "noisier": {"noise": 2.3}, "copies": COPIES},
    symptom=(
        Moves(metric="recall@1", arm="baseline", versus="features", by=-0.015),
        Reaches(metric="recall@1", arm="baseline", at_most=5 * CHANCE),
        Reaches(metric="recall@1", arm="baseline", at_most=3 * CHANCE, at="noisier"),
        Reaches(metric="loss/margin", arm="baseline", at_least=0.98, at_most=1.02),
        Reaches(metric="spread", arm="baseline", at_most=0.1),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        *(Moves(metric="recall@1", arm=arm, versus="baseline", by=0.12) for arm in (*REMEDIES, "semihard_raw")),
        Moves(metric="recall@1", arm="l2_only", versus="semihard", by=-0.5, relative=True),
        Moves(metric="recall@1", arm="deduplicated", versus="baseline", by=0.12, at="copies"),
    ),
    guard=tuple(
        Keeps(metric=f"recall@1[{size}]", arm=arm, versus="features", within=0.01, side="below")
        for arm in ("semihard", "distance", "infonce")
        for size in ("small", "large")
    ),
    control=tuple(
        Keeps(metric="recall@1", arm=arm, versus="baseline", within=0.03, at="off")
        for arm in ("semihard", "distance", "infonce")
    ),
    detector=CollapseDetector(),
    cases=(
        Case(cause="hard_negatives", arm="baseline", world=NOISY),
        Case(cause="hard_negatives", arm="l2_only", world={"noise": 1.5}),
        Case(cause="hard_negatives", arm="soft_margin", world={"noise": 1.65}, fresh=True),
        Case(cause="weight_decay", arm="decay", world=NOISY),
        Case(cause="weight_decay", arm="decay", world={"noise": 1.3, "weight_decay": 15.0}, fresh=True),
        Case(cause="learning_rate", arm="hot", world=NOISY),
        Case(cause="learning_rate", arm="hot", world={"noise": 1.4, "learning_rate": 0.5}, fresh=True),
        Case(cause="false_negatives", arm="baseline", world=COPIES),
        Case(cause="false_negatives", arm="baseline", world={"noise": 0.7, "duplicates": 0.08}, fresh=True),
        Case(cause="low_rank", arm="low_rank", world=NOISY),
        Case(cause="low_rank", arm="low_rank", world={"noise": 1.2, "rank": 4}, fresh=True),
        Case(cause="easy_negatives", arm="easy", world=NOISY),
        Case(cause="easy_negatives", arm="easy", world={"noise": 1.6, "margin": 0.1}, fresh=True),
        Case(
            cause="hard_negatives|false_negatives", arm="baseline", world={"noise": 1.8, "duplicates": 0.15}, fresh=True
        ),
        Case(cause=HEALTHY, arm="semihard", world=NOISY),
        Case(cause=HEALTHY, arm="baseline", world=QUIET),
        Case(cause=HEALTHY, arm="infonce", world={"noise": 1.45}, fresh=True),
    ),
    ceiling="ceiling",
    sweep=Sweep(axes={"noise": (0.8, 1.2, 1.6, 1.9, 2.3)}, arms=("baseline", "semihard"), metric="recall@1"),
    unequal={
        "features": "nothing is trained",
        "ceiling": "nothing is trained",
        "low_rank": "the bottleneck is the fault",
    },
)
