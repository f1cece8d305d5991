"""A BERT that reads five words, and ten milliseconds to answer in.

Question
--------
You're asked to migrate a BERT-based query encoder to a production search system with <10ms latency budget. What architectural
simplifications and trade-offs would you make?

Answer
------
First look where the time goes. Split late requests into queue, tokeniser, encoder, search and network: while the encoder takes
less than half of them, a smaller one is the wrong fix. Then what costs no quality: queries are short, so compute the tokens
there are (cap the length, batch by length, no fixed padding), compile, fuse attention, take eight-bit weights (Q8BERT, Zafrir et
al. 2019), and cache the head of the traffic, keyed by normalised text and by the versions of encoder and index. A cache helps the
average and not the late requests, which are those that it has never seen.

Then use that the two sides are not alike. Item vectors are computed offline, and a hundred million of them stand in an
index; so items and index stay as they are, and only the query tower is distilled into the same space: by regression on
the teacher's vectors, with or without the divergence of scores (EmbedDistill, Kim et al. 2023; KALE, Campos et al. 2023;
TinyBERT, Jiao et al. 2020; MiniLM, Wang et al. 2020). That needs queries and no labels, and queries are what a search system
has most of. Go down the ladder: half the layers, one layer, a bag of hashed token pairs, a bag of tokens; stop at the knee.
Starting from the teacher's own layers helps (DistilBERT, Sanh et al. 2019); a model whose layers are simply dropped, if it
wasn't trained to stand that (LayerDrop, Fan et al. 2020), is not a student but a broken teacher.

The trade-offs are in the slices. What a bag loses it loses where the order of words matters; what a student of few queries loses
is what those queries don't say. Guard order-sensitive and rare queries, overlap with the teacher's list, late requests and not
average ones, and that the index is the same to the bit. Keep the teacher as a fall-back for queries where the two disagree
offline, and leave early exits for encoders that are deep enough to have something to exit from.

Symptom
-------
The teacher misses the budget for late requests. The obvious migrations lose what it knew: a small encoder trained on the
domain's own clicks, which are few, and a teacher with layers cut off.

Diagnosis
---------
Spans of late requests name the cause: a queue (without it they would be in time; what is slow to serve makes queues,
too), the tokeniser, the search, the network, padding (positions computed that hold nothing), a cold cache (repeats that no
cache answered though there is one), or the encoder's arithmetic. Where nothing is late, the student's agreement with its
teacher is looked at: low on the very queries it was trained on is a lack of capacity, high there and low on fresh ones a
lack of data.

Remedy
------
`distilled` (one layer, unlabelled queries), `distilled_scores` (with scores), `halved_distilled` and `one_distilled` (started
from the teacher's layers), `bigrams` and `bag` (no transformer), `int8` (weights of the teacher), `distilled_int8`, `cached`.
`labelled` learns the teacher's vectors of the clicked queries alone and tells what unlabelled ones are worth.

Guard
-----
The index is the same to the bit; recall of rare queries and of queries whose order matters; agreement with the teacher;
late requests. `reindexed`, which trains item vectors of its own, is the trap: it breaks what the migration must not touch.

Control
-------
In a language without acting modifiers the order of tokens says nothing, and a bag of tokens must be as good as a layer of
attention: what it loses elsewhere is order, and nothing else. The encoder timed against itself must come out at one.

Real data
---------
Reviews of clothes are searched by their titles. The teacher is a pretrained encoder of six layers (MiniLM), its vectors of
reviews are the index, and students learn its vectors of titles that others wrote; half of its layers stand beside them as they
are. Nothing is tuned, and a review counts as found by its own title and by equal ones alone, so that recall is low for all.

Cost
----
Multiply-adds of a query, counted and checked against torch's own counter; CPU time of single queries as a ratio to the teacher,
interleaved in one run, with the teacher against itself beside it; late requests at a simulated endpoint of given speed, so
that the claim doesn't hang on a machine. `python -m bench.query_encoder` measures a real one through Ray Serve.

Apply
-----
`recipe(student=..., distil=..., endpoint=...)`: `Transformer(layers=...)` or `HashedBag(grams=...)` for the student;
`Distil(data=..., score_weight=..., layers_of_teacher=...)` for how it learns. Of your own system it takes item vectors, the
teacher's vectors of logged queries, and a few clicks to validate on. The detector reads `Spans`, columns that an endpoint's
metrics already have, and `Agreement` of two encoders.

What didn't work
----------------
Adding the divergence of scores to the regression of vectors: dearer to train, no better. Eight-bit weights at this size save
memory and no time: the products are small and the scales are one step more. A bag of tokens in a language full of acting
modifiers: cheap, and far from the teacher.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from recsys.claims.kinds import Claim, Keeps, Moves, Reaches
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.latency import EncoderMigration
from recsys.encoders.query import HashedBag, Transformer
from recsys.recipes.endpoint import Endpoint
from recsys.recipes.pretrained_query import PretrainedQuery
from recsys.recipes.query_tower import Distil, QueryTower
from recsys.worlds.review_titles import ReviewTitles
from recsys.worlds.tokens import Tokens

RECALL, ORDER, TAIL = "recall@50", "recall@50[order]", "recall@50[tail]"
ONE_LAYER, DISTILLED = Transformer(layers=1), Distil()
NO_ORDER = {"order": 0.0}


def recipe(
    *,
    student: Transformer | HashedBag = ONE_LAYER,
    distil: Distil | None = DISTILLED,
    int8: bool = False,
    endpoint: dict[str, Any] | None = None,
    ceiling: bool = False,
    **world: Any,
) -> QueryTower:
    """`endpoint` holds fields of Endpoint; `distil` None leaves the teacher in place."""
    return QueryTower(
        world=Tokens(**world),
        student=student,
        distil=distil,
        int8=int8,
        endpoint=Endpoint(**(endpoint or {})),
        ceiling=ceiling,
    )


def titles(student: Transformer | HashedBag | None, layers: int | None = None) -> PretrainedQuery:
    """A pretrained teacher and people's own words; `student` None leaves the teacher, or its first layers, in place."""
    return PretrainedQuery(world=ReviewTitles(), student=student, layers=layers)


def keeps(metric: str, arm: str, within: float, **more: Any) -> Claim:
    return Keeps(metric=metric, arm=arm, versus="teacher", within=within, side="below", relative=True, **more)


def cheap(arm: str, at_most: float) -> tuple[Claim, Claim]:
    """CPU time a query over the teacher's, and its arithmetic."""
    less = Moves(metric="multiply_adds", arm=arm, versus="teacher", by=at_most - 1, relative=True)
    return Reaches(metric="time_ratio", arm=arm, at_most=at_most), less


teacher = partial(recipe, distil=None)
CACHE = {"cache": 200}
UNEQUAL = (
    "teacher", "int8", "cached", "ceiling", "reindexed", "bag", "bigrams", "halved", "one", "halved_distilled",
)  # fmt: skip

PROBLEM = Problem(
    title="A query encoder for a budget of ten milliseconds",
    area="efficiency",
    arms={
        "teacher": teacher,
        "clicks": partial(recipe, distil=Distil(data="clicks")),
        "reindexed": partial(recipe, distil=Distil(data="clicks", reindex=True)),
        "labelled": partial(recipe, distil=Distil(data="labelled")),
        "distilled": recipe,
        "distilled_scores": partial(recipe, distil=Distil(score_weight=10.0)),
        "distilled_int8": partial(recipe, int8=True),
        "bigrams": partial(recipe, student=HashedBag(grams=2)),
        "bag": partial(recipe, student=HashedBag()),
        "halved": partial(recipe, distil=Distil(data="nothing", layers_of_teacher=2)),
        "one": partial(recipe, distil=Distil(data="nothing", layers_of_teacher=1)),
        "halved_distilled": partial(recipe, distil=Distil(layers_of_teacher=2)),
        "one_distilled": partial(recipe, distil=Distil(layers_of_teacher=1)),
        "int8": partial(teacher, int8=True),
        "cached": partial(teacher, endpoint=CACHE),
        "ceiling": partial(teacher, ceiling=True),
    },
    world={"on": {}, "off": NO_ORDER},
    symptom=(
        Reaches(metric="p99_ms", arm="teacher", at_least=10.0),
        Moves(metric=RECALL, arm="clicks", versus="teacher", by=-0.06),
        Moves(metric=RECALL, arm="one", versus="teacher", by=-0.3, relative=True),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        keeps(RECALL, "distilled", 0.05),
        *cheap("distilled", 0.5),
        Reaches(metric="p99_ms", arm="distilled", at_most=10.0),
        Moves(metric=RECALL, arm="distilled", versus="clicks", by=0.06),
        Moves(metric=RECALL, arm="distilled", versus="labelled", by=0.01),
        keeps(RECALL, "int8", 0.01),
        keeps(RECALL, "halved_distilled", 0.03),
        keeps(RECALL, "one_distilled", 0.03),
        keeps(RECALL, "bag", 0.2),
        keeps(RECALL, "bag", 0.2, at="off"),
        *cheap("bag", 0.2),
        Moves(metric=RECALL, arm="bigrams", versus="bag", by=0.03),
        Moves(metric="multiply_adds", arm="cached", versus="teacher", by=-0.4, relative=True),
    ),
    guard=(
        Reaches(metric="index_same", arm="distilled", at_least=1.0),
        keeps(TAIL, "distilled", 0.05),
        keeps(ORDER, "distilled", 0.05),
        Reaches(metric="agreement@20", arm="distilled", at_least=0.7),
        keeps(RECALL, "distilled_int8", 0.05),
    ),
    control=(
        Keeps(metric=RECALL, arm="bag", versus="distilled", within=0.05, at="off", side="below"),
        Keeps(metric=RECALL, arm="distilled", versus="teacher", within=0.05, at="off", side="below"),
        Moves(metric=ORDER, arm="bag", versus="distilled", by=-0.2),
        Keeps(metric="recall@50[plain]", arm="bag", versus="distilled", within=0.15, side="below"),
        Moves(metric=RECALL, arm="halved", versus="teacher", by=-0.3, relative=True),
        Reaches(metric="index_same", arm="reindexed", at_most=0.0),
        Keeps(metric="multiply_adds_p99", arm="cached", versus="teacher", within=0.01, relative=True),
        Reaches(metric="p99_ms", arm="cached", at_least=10.0),
        Keeps(metric=RECALL, arm="distilled_scores", versus="distilled", within=0.02),
        Reaches(metric="time_aa", arm="distilled", at_least=0.9, at_most=1.1),
        Reaches(metric="time_aa", arm="bag", at_least=0.9, at_most=1.1),
    ),
    detector=EncoderMigration(),
    cases=(
        Case(cause=HEALTHY, arm="distilled", world={}),
        Case(cause=HEALTHY, arm="halved_distilled", world={"endpoint": {"speed": 120_000.0, "interval_ms": 60.0}}, fresh=True),
        Case(cause="encoder_compute", arm="teacher", world={}),
        Case(cause="encoder_compute", arm="teacher", world={"endpoint": {"speed": 60_000.0, "search_ms": 2.0}}, fresh=True),
        Case(cause="queueing", arm="distilled", world={"endpoint": {"interval_ms": 3.9}}),
        Case(cause="queueing", arm="distilled", world={"endpoint": {"interval_ms": 4.4, "tokenise_ms": 0.5}}, fresh=True),
        Case(cause="tokenizer", arm="distilled", world={"endpoint": {"tokenise_ms": 12.0}}),
        Case(cause="tokenizer", arm="distilled", world={"endpoint": {"tokenise_ms": 20.0, "interval_ms": 80.0}}, fresh=True),
        Case(cause="padding", arm="distilled", world={"endpoint": {"pad_to": 16}}),
        Case(cause="padding", arm="distilled", world={"endpoint": {"pad_to": 24, "interval_ms": 80.0}}, fresh=True),
        Case(cause="cold_cache", arm="teacher", world={"endpoint": {"cache": 400, "rollover": 40}}),
        Case(cause="cold_cache", arm="teacher", world={"endpoint": {"cache": 10, "interval_ms": 60.0}}, fresh=True),
        Case(cause="student_capacity", arm="bag", world={}),
        Case(cause="student_capacity", arm="bag", world={"num_unlabelled": 8000}, fresh=True),
        Case(cause="student_data", arm="distilled", world={"num_unlabelled": 500}),
        Case(cause="student_data", arm="distilled", world={"num_unlabelled": 800}, fresh=True),
        Case(cause="queueing|tokenizer", arm="distilled", world={"endpoint": {"tokenise_ms": 8.0, "interval_ms": 14.0}},
             fresh=True),
        Case(cause="padding|queueing", arm="distilled", world={"endpoint": {"pad_to": 14, "interval_ms": 14.0}}, fresh=True),
    ),
    ceiling="ceiling",
    sweep=Sweep(axes={"order": (0.0, 0.5, 1.0)}, arms=("teacher", "distilled", "bigrams", "bag"), metric=RECALL),
    unequal=dict.fromkeys(UNEQUAL, "every rung of the ladder has its own capacity: it is the knob"),
    real={
        "titles: MiniLM": partial(titles, None),
        "titles: half of MiniLM": partial(titles, None, layers=3),
        "titles: one layer": partial(titles, Transformer(layers=1, width=128)),
        "titles: bigrams": partial(titles, HashedBag(grams=2)),
        "titles: bag": partial(titles, HashedBag()),
    },
)  # fmt: skip
