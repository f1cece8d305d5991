"""A retriever of which the head learns everything and the tail nothing.

Question
--------
You train a dense retriever on search queries. Head queries dominate logs. During eval, recall@100 for tail queries is low. What
model and sampling strategies would help?

Answer
------
First say what low means. A mean over traffic is a mean over the head; count each query once, by bucket of frequency, with
queries that were never typed in training as a bucket of their own, and people's judgements instead of clicks as the truth.
And hold out sets of concepts, not strings: "shoes red" is no new query where "red shoes" was trained on.

*Model.* A vector for each query's id learns the head by heart: where it explains the clicks, the words behind it get no
gradient, and a query that was never typed has nothing but its words. So a query should be made of parts that other queries
share (words, pieces of words: Joulin et al. 2016; Sennrich et al. 2016), in one table with the words of items, so that what
both say is near from the start; a pretrained start does the same for words that the log has never seen. Ids, if they are
wanted for the head, are dropped at random in training (DropoutNet, Volkovs et al. 2017). Items need their content beside
their ids: one that nobody clicked has no id worth the name.

*Sampling.* Draw queries in proportion to frequency to a power between a quarter and a half (Mikolov et al. 2013; Conneau et
al. 2020), or cap the clicks of a query. A frequent query stands in a batch several times, with another right item each time:
mask those. Correct items for their frequency (logQ: Yi et al. 2019) if popular ones are pushed away. Hard negatives should
share a word and not the intent; taken blindly from the top of a word search, many are right answers that nobody has clicked.

*Data.* Queries of the tail that nobody has typed yet can be made of the items' own texts (doc2query: Nogueira et al. 2019;
InPars: Bonifacio et al. 2022; Promptagator: Dai et al. 2023), labelled by a cross encoder (GPL: Wang et al. 2022), or
propagated along the graph of clicks (Craswell and Szummer 2007), which gives labels to queries that have clicks and is as good
as the queries that share an item are alike. None of them may be made from the queries that one tests on.

*Serving.* A word index beside the dense one, merged by reciprocal rank (Cormack et al. 2009) or routed by frequency, finds
what the dense one cannot express: rare names and numbers.

Symptom
-------
Nearly all head queries find their items; queries never typed before, which name the same types, attributes and brands in
other words and combinations, find half of theirs. The mean over traffic doesn't see it. The same model on a log whose
queries are all as frequent (healthy) finds them.

Diagnosis
---------
Five causes look alike, and each is measured as the recall that it explains on queries never typed. `id_memorisation`: what
training without ids wins. `vocabulary_undertrained`: how recall rises with the clicks that hold a query's rarest word.
`item_coverage`: found shares of relevant items that were clicked and of those that never were. `false_negatives`: what
training without rivals that are right answers wins. `representation`: what BM25 finds more, on these queries alone. Beside
them stand ids left out at inference, the effective number of distinct queries in a batch, and the share of rivals that were
clicked for the same query.

Remedy
------
`no_query_ids`, `no_ids`, `id_dropout`, `tempered` (power a half) and `tempered_more` (a quarter) by themselves; `combined`,
which is dropped ids, the power a half and the mask; `no_ids_tempered`, the same without ids; `generated`, combined with three
rows in ten made of items' texts, and `no_ids_generated`; `few_rows_hybrid` where the vocabulary has too few rows. `capped`
counts ten clicks of a query at most (`dropout_capped`, with dropped ids). `started`, `combined_started` and
`generated_started` begin with words that were read before: these words are invented, so that no language model knows them,
and what a pretrained one is for real words a decomposition of which words stand together in the items' texts is for these.
It has seen no click.

Guard
-----
Recall of the head, for `combined` and `generated`.

Control
-------
With a log whose queries are all as frequent, `combined` changes little. Tempered sampling alone is no cure, and a cap of clicks
is the same cure in other words; nor are logQ, a word index beside the dense one (hybrid, routed), or a teacher that learnt
from the same clicks (taught). Labels that a walk along the clicks reaches do harm (walked, combined_walked): who clicked the
same item, most often with a query of the head, wanted other things besides. Rivals from the top
of a word search (mined) do harm, against the same small batches without them, and no less so when each lacks one of the query's
words (mined_lacking): where things have many names, words don't tell who shares a word and not the intent.

Real data
---------
Four thousand reviews of clothes are searched by their titles; the words are people's, how often a title is typed is
simulated, and a review is relevant to its own title and to equal ones. The head is learnt by heart here, too, and titles
never typed are hardly found. But the cause is another: neither ids nor sampling change much, a wider vector does, so does a
start from the reviews' own texts, more than one from a pretrained encoder's words, and words alone find most of the tail and
little of the head. Merged lists have both, which is what the word index is for. The detector says `representation` of the
same models.

Cost
----
Steps and batches are the same for all. Without ids a model has a quarter of the parameters. Generated queries cost a draw;
mined rivals a vector each; a teacher its own training. Nothing but the hybrid costs anything at serving.

Apply
-----
`recipe(query_ids=..., item_ids=..., dropout=..., power=..., cap=..., mask=..., synthetic=...)` on your log: words of queries and
titles as token ids, clicks as pairs, judged queries. `HashedIds(dropout=...)`, `Balanced(strength=1 - power)`, `Capped`,
`InBatchSoftmax(mask="query")`, `QueryGenerator`, `Cooccurrence`, `ClickWalk` and `ReciprocalRankFusion` are parts by
themselves. For a diagnosis, judge items of some queries of the log and of some that it doesn't hold, and give the doctor
`JudgedQueries`, `SearchRefits` and, if you can, `QueryBatches`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from recsys.claims.kinds import Keeps, Moves, Reaches, Recovers
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.tail_queries import COVERAGE, IDS, NEGATIVES, REPRESENTATION, VOCABULARY, TailQueries
from recsys.encoders.cooccurrence import Cooccurrence
from recsys.encoders.ids import HashedIds
from recsys.encoders.query import Transformer
from recsys.encoders.token_bag import TokenBag
from recsys.losses.in_batch import InBatchSoftmax
from recsys.recipes.cross_teacher import CrossTeacher
from recsys.recipes.review_words import ReviewWords
from recsys.recipes.search_prepared import PreparedTowers
from recsys.recipes.search_towers import SearchTowers
from recsys.rerank.fusion import ReciprocalRankFusion
from recsys.samplers.balanced import Balanced
from recsys.samplers.capped import Capped
from recsys.samplers.click_walk import ClickWalk
from recsys.samplers.lexical_negatives import LexicalNegatives
from recsys.train.fit import Fit
from recsys.worlds.review_searches import ReviewSearches
from recsys.worlds.searches import Searches

HEAD, TAIL, TRAFFIC = "recall@100[head]", "recall@100[tail]", "recall@100[traffic]"
FUSED = ReciprocalRankFusion()
EVEN, FEW_WORDS = {"zipf": 0.0}, {"synonyms": 10}


def recipe(  # noqa: PLR0913 - the knobs under study
    *,
    query_ids: bool = True,
    item_ids: bool = True,
    dropout: float = 0.0,
    power: float = 1.0,
    mask: bool = False,
    corrected: bool = False,
    synthetic: float = 0.0,
    batch: int = 256,
    cap: int | None = None,
    rows: int | None = None,
    learning_rate: float = 0.04,
    temperature: float = 0.3,
    more: dict[str, Any] | None = None,
    reviews: bool = False,
    **world: Any,
) -> SearchTowers:
    """`more` holds other fields of SearchTowers, `rows` those of the table of words, None for a row each.

    `reviews` puts real titles and texts in place of the simulated words.
    """
    ids = HashedIds(dropout=dropout)
    plain = Balanced(batch=batch, strength=1 - power)
    sampler = plain if cap is None else Capped(batch=batch, strength=1 - power, cap=cap)
    held: dict[str, Any] = {
        "encoder": TokenBag(rows=rows),
        "query_ids": ids if query_ids else None,
        "item_ids": ids if item_ids else None,
        "sampler": sampler,
        "loss": InBatchSoftmax(temperature=temperature, mask="query" if mask else "item", corrected=corrected),
        "synthetic": synthetic,
        "train": Fit(steps=250, learning_rate=learning_rate),
    }
    place = ReviewSearches(**world) if reviews else Searches(**world)
    towers = PreparedTowers if {"start", "walk"} & {*(more or {})} else SearchTowers
    return towers(world=place, **{**held, **(more or {})})


def healthy(**given: Any) -> SearchTowers:
    """The same model on a log in which every query is as frequent."""
    return recipe(**{**given, "zipf": 0.0})


def ceiling(**given: Any) -> SearchTowers:
    return replace(recipe(**given), scored="truth")


no_ids = partial(recipe, query_ids=False, item_ids=False)
tempered = partial(recipe, power=0.5)
combined = partial(tempered, dropout=0.6, mask=True)
small_batch = partial(combined, batch=64)
few_rows = partial(combined, rows=100)
UNEQUAL = {
    "no_query_ids": "ids are what is left out",
    "no_ids": "ids are what is left out",
    "no_ids_tempered": "ids are what is left out",
    "no_ids_generated": "ids are what is left out",
    "few_rows": "too few rows for its words are the fault",
    "few_rows_hybrid": "too few rows for its words are the fault",
    "bare_items": "query ids are left out",
    "transformer": "another encoder",
    "words": "nothing is trained",
    "ceiling": "nothing is trained",
}


def mined(*, depth: int = 8, lacking: bool = False, **given: Any) -> SearchTowers:
    """Rivals from the top of a word search, whoever they are, in small batches in which they weigh more."""
    return small_batch(more={"mined": LexicalNegatives(num=depth, depth=depth, lacking=lacking)}, **given)


PROBLEM = Problem(
    title="The head is learnt by heart, the tail isn't learnt",
    area="retrieval",
    arms={
        "healthy": healthy,
        "baseline": recipe,
        "no_query_ids": partial(recipe, query_ids=False),
        "no_ids": no_ids,
        "id_dropout": partial(recipe, dropout=0.6),
        "tempered": tempered,
        "tempered_more": partial(recipe, power=0.25),
        "capped": partial(recipe, cap=10),
        "dropout_capped": partial(recipe, dropout=0.6, cap=10),
        "dropout_tempered": partial(tempered, dropout=0.6),
        "combined": combined,
        "no_ids_tempered": partial(no_ids, power=0.5, mask=True),
        "combined_logq": partial(combined, corrected=True),
        "generated": partial(combined, synthetic=0.3),
        "no_ids_generated": partial(no_ids, power=0.5, mask=True, synthetic=0.3),
        "generated_alone": partial(recipe, synthetic=0.3),
        "started": partial(recipe, more={"start": Cooccurrence()}),
        "combined_started": partial(combined, more={"start": Cooccurrence()}),
        "generated_started": partial(combined, synthetic=0.3, more={"start": Cooccurrence()}),
        "walked": partial(recipe, more={"walk": ClickWalk()}),
        "combined_walked": partial(combined, more={"walk": ClickWalk()}),
        "taught": partial(combined, more={"teacher": CrossTeacher()}),
        "transformer": partial(combined, more={"encoder": Transformer(layers=1, width=32)}),
        "hybrid": partial(recipe, more={"fusion": FUSED}),
        "routed": partial(recipe, more={"fusion": FUSED, "fused": "unseen"}),
        "small_batch": small_batch,
        "mined": mined,
        "mined_lacking": partial(mined, lacking=True),
        "few_rows": few_rows,
        "few_rows_hybrid": partial(few_rows, more={"fusion": FUSED}),
        "bare_items": partial(combined, query_ids=False, more={"titles": False}),
        "words": partial(recipe, more={"scored": "words"}),
        "ceiling": ceiling,
    },
    world={"on": {"zipf": 1.15}, "off": EVEN, "few words": FEW_WORDS},
    symptom=(
        Moves(metric=TAIL, arm="baseline", versus="healthy", by=-0.25),
        Reaches(metric=HEAD, arm="baseline", at_least=0.95),
        Reaches(metric=TRAFFIC, arm="baseline", at_least=0.95),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        Moves(metric=TAIL, arm="combined", versus="baseline", by=0.25),
        Moves(metric=TAIL, arm="generated", versus="baseline", by=0.25),
        Recovers(metric=TAIL, arm="generated", broken="baseline", healthy="healthy", share=0.7),
        Moves(metric=TAIL, arm="started", versus="baseline", by=0.1),
        Moves(metric=TAIL, arm="combined_started", versus="combined", by=0.03),
        Moves(metric=TAIL, arm="no_ids", versus="baseline", by=0.1),
        Moves(metric=TAIL, arm="generated", versus="combined", by=0.01),
        Moves(metric=TAIL, arm="generated_alone", versus="baseline", by=0.05),
        Moves(metric=TAIL, arm="no_query_ids", versus="baseline", by=0.04),
        Moves(metric=TAIL, arm="id_dropout", versus="baseline", by=0.04),
        Moves(metric=TAIL, arm="dropout_tempered", versus="tempered", by=0.1),
        Moves(metric=TAIL, arm="few_rows_hybrid", versus="few_rows", by=0.1, at="few words"),
    ),
    guard=(
        Keeps(metric=HEAD, arm="combined", versus="healthy", within=0.02, side="below"),
        Keeps(metric=HEAD, arm="generated", versus="healthy", within=0.02, side="below"),
        Keeps(metric=HEAD, arm="combined_started", versus="healthy", within=0.02, side="below"),
    ),
    control=(
        Keeps(metric=TAIL, arm="combined", versus="baseline", within=0.05, at="off"),
        Keeps(metric=TAIL, arm="tempered", versus="baseline", within=0.2, side="above"),
        Keeps(metric=TAIL, arm="tempered_more", versus="baseline", within=0.2, side="above"),
        Keeps(metric=TAIL, arm="capped", versus="tempered", within=0.03),
        Moves(metric=TAIL, arm="walked", versus="baseline", by=-0.04),
        Moves(metric=TAIL, arm="combined_walked", versus="combined", by=-0.02),
        Keeps(metric=TAIL, arm="combined_logq", versus="combined", within=0.03),
        Keeps(metric=TAIL, arm="taught", versus="combined", within=0.02, side="above"),
        Keeps(metric=TAIL, arm="hybrid", versus="baseline", within=0.05, side="above"),
        Keeps(metric=TAIL, arm="routed", versus="baseline", within=0.05, side="above"),
        Moves(metric=TAIL, arm="mined", versus="small_batch", by=-0.05),
    ),
    detector=TailQueries(),
    cases=(
        Case(cause=IDS, arm="baseline", world={"synonyms": 10, "coverage": 0.5}),
        Case(cause=IDS, arm="baseline", world={"synonyms": 12, "coverage": 0.4}, fresh=True),
        Case(cause=VOCABULARY, arm="no_ids", world={}),
        Case(cause=VOCABULARY, arm="no_ids", world={"synonyms": 50}),
        Case(cause=VOCABULARY, arm="no_ids", world={"synonyms": 36, "noise": 0.05}, fresh=True),
        Case(cause=COVERAGE, arm="bare_items", world={"synonyms": 10, "coverage": 0.3}),
        Case(cause=COVERAGE, arm="bare_items", world={"synonyms": 6, "coverage": 0.4}, fresh=True),
        Case(cause=NEGATIVES, arm="mined", world=FEW_WORDS),
        Case(cause=NEGATIVES, arm="mined", world={"synonyms": 8, "depth": 10}, fresh=True),
        Case(cause=REPRESENTATION, arm="few_rows", world=FEW_WORDS),
        Case(cause=REPRESENTATION, arm="few_rows", world={"synonyms": 7, "rows": 90}, fresh=True),
        Case(cause=f"{IDS}|{VOCABULARY}", arm="baseline", world={"zipf": 1.3}, fresh=True),
        Case(cause=HEALTHY, arm="baseline", world=EVEN),
        Case(cause=HEALTHY, arm="combined", world=FEW_WORDS),
        Case(cause=HEALTHY, arm="generated", world={"synonyms": 8}, fresh=True),
        Case(cause=HEALTHY, arm="combined", world={"synonyms": 6, "coverage": 0.5}, fresh=True),
    ),
    ceiling="ceiling",
    tuning=Tuning(space={"learning_rate": (0.04, 0.08, 0.16, 0.02)}, trials=4),
    sweep=Sweep(axes={"zipf": (0.0, 0.6, 1.15, 1.5)}, arms=("baseline", "no_ids", "generated"), metric=TAIL),
    unequal=UNEQUAL,
    real={
        "reviews: words": partial(recipe, reviews=True, more={"scored": "words"}),
        "reviews: baseline": partial(recipe, reviews=True),
        "reviews: no_ids": partial(no_ids, reviews=True),
        "reviews: combined": partial(combined, reviews=True),
        "reviews: generated": partial(combined, synthetic=0.3, reviews=True),
        "reviews: generated, wide": partial(combined, synthetic=0.3, reviews=True, more={"dim": 128}),
        "reviews: generated, started": partial(combined, synthetic=0.3, reviews=True, more={"start": Cooccurrence()}),
        "reviews: generated, pretrained": partial(combined, synthetic=0.3, reviews=True, more={"start": ReviewWords()}),
        "reviews: baseline, hybrid": partial(recipe, reviews=True, more={"fusion": FUSED}),
        "reviews: generated, hybrid": partial(combined, synthetic=0.3, reviews=True, more={"fusion": FUSED}),
        "reviews: generated, routed": partial(combined, synthetic=0.3, reviews=True, more={"fusion": FUSED, "fused": "unseen"}),
    },
)  # fmt: skip
