"""A hundred million listings, a good index, and the same product over and over.

Question
--------
You serve search results using a dual-tower model with 100M product embeddings. ANN recall@100 is good, but users complain
about repetitive results. What architectural changes would you explore to inject more diversity?

Answer
------
Recall@100 of an approximate index says that it finds what exact search would find. The complaint is about what exact search
finds: the nearest neighbours of one vector are, by construction, like each other. So neither more probes nor a better index
helps, and four levels remain, each for its own cause.

1. The catalogue. A hundred million listings are far fewer products: sellers list the same thing. Join near-identical listings
   (neighbours from the index that serves anyway, then union-find), index one representative a product and attach the offers
   to it. Done once offline; the index gets smaller and every request cheaper.
2. Retrieval. One query vector is the mean of what its users mean, and lies near the commonest meaning. Search with several:
   heads or clusters of what was clicked after the query (MIND, Li et al. 2019; ComiRec, Cen et al. 2020; PinnerSage, Pal et
   al. 2020), or take a quota of each cell of the index, which needs no clicks and knows no meanings. Fetch deeper where the
   pool is too poor.
3. Reranking. MMR (Carbonell and Goldstein 1998), greedy determinantal point processes (Chen et al. 2018), a cap on
   near-twins; and where the meanings and their shares are known, xQuAD (Santos et al. 2010) or calibration (Steck 2018),
   which give each meaning its due. Rerankers choose among what retrieval brought: if the top hundred are six products, no
   reranker fills a page of ten.
4. Training. If aspects of a query lie on top of each other in the vectors, mine hard negatives within clusters so that they
   separate; that is a matter of the losses' pages and not measured here, where the vectors separate aspects.

Measure novelty of products and of meanings at once (alpha-nDCG, Clarke et al. 2008), with the mean gain of what is shown as
a guard. A distance within the list as the primary metric is won by shuffling.

Symptom
-------
The index finds nearly all that exact search finds; yet half of the first ten places repeat a product that already stood
above, and the list answers the commonest meaning only. Compared with the same marketplace with one listing a product.

Diagnosis
---------
Three counts a query: near-twins among what is shown (the catalogue); breadth of what is clicked after the query against
breadth of what is found, twins counted once (a query with one vector for several meanings); distinct products in what was
found (starvation: rerankers have nothing to choose from). Three rivals: vectors of low effective rank (collapse, unrelated
queries suffer as well); the same items in the lists of different queries (popularity); exact search finds more widely than
the index (too few lists visited). The vectors' mean is taken out before twins are counted, because a common component makes
everything alike; and only items whose features are twins, too, are counted as the catalogue's, because an encoder that is too
narrow, or never learnt a word, makes different items alike.

Remedy
------
Arms of each level: `canonical` (1), `interests`, `interests_calibrated`, `cells`, `deep` (2), `mmr`, `mmr_half`, `dpp`, `cap`
(3), and `canonical_mmr`, `canonical_dpp`, `xquad` (1 to 3). Canonicalisation alone wins most of what reranking wins and is
the only one that makes requests cheaper. What it can't win is breadth of meaning: only searching with several vectors does.

Guard
-----
Mean gain of what is shown: diversity bought with irrelevant items isn't worth having. No list gets shorter. Groups are pure:
two products merged into one is a product that nobody can find. Work of a request, in multiply-adds.

Control
-------
With one listing a product and one meaning a query there is nothing to diversify: canonicalisation changes nothing, and DPP
and quotas by interest must do no harm. Interests are made of clicks, and clicks say more about a query than its vector does;
so `one_interest`, the mean of the same clicks, stands beside them to tell the number of vectors from their source. `shuffle`
is the trap: a random ten of the top hundred has the widest list and a higher share of distinct products.

Cost
----
Multiply-adds a request: centres of the index's lists, vectors of the lists visited, and the reranker's products. Several
interests are several searches. The sweep shows dose and response: how many listings a product may have, by how many aspects
there are; with few listings of each aspect the tail of the pool is off the subject, and shuffling turns from useless to harmful.

Apply
-----
`recipe(rerank=..., canonical=..., interests=..., depth=..., probes=...)` on vectors of your own: `CatalogueLogs` holds item
vectors, query vectors and clicked items a query. Choose `lam`, `threshold` and the number of interests by `validation`, the
share of held-out clicks for which a like listing is shown; the truth isn't needed. Check `threshold` on a few hundred pairs
labelled by hand: it belongs to the encoder. Interests need some ten clicks a query; the tail goes without, by DPP over the
canonical index. The detector needs `ServedLists` (vectors, queries, what was found and shown, and what the items are encoded
from, to tell twins of the catalogue from twins of the encoder), and `ExactLists` and `ClickedItems` for the rivals; without them
it says which experiment to run.

What didn't work
----------------
A quota for each cell of the index: cells aren't meanings, so it trades gain for breadth at a worse rate than the rerankers.
Fetching five times as deep before DPP: no better than DPP over a hundred, unless the hundred are starved. More weight on
diversity (lam of a half): wider lists, less gain.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from recsys.claims.kinds import Claim, Keeps, Moves, Reaches, Recovers
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep
from recsys.diagnose.diagnosis import HEALTHY
from recsys.diagnose.repetition import Repetition
from recsys.random import torch_rng
from recsys.recipes.diversify import Diversify
from recsys.rerank.canonical import Canonicaliser
from recsys.rerank.cap import CellQuota, NearDuplicateCap
from recsys.rerank.greedy import Diverse, TopK
from recsys.rerank.intents import Shares, XQuad
from recsys.rerank.interests import Interests
from recsys.rerank.pool import Pool, Reranker, first_of
from recsys.value import value
from recsys.worlds.catalogue import Catalogue

ALPHA, GAIN, UNIQUE, MASS = "alpha_ndcg@10", "gain@10", "unique@10", "aspect_mass@10"
AS_RETRIEVED = TopK()
ONE_LISTING = {"most": 1}
PLAIN = {"most": 1, "intents": (1.0,)}  # one listing a product, one meaning a query
STARVED = {"num_products": 400, "num_aspects": 30, "tail": 0.5, "most": 300}


@value
class Shuffle:
    """Any ten of the pool: wide, and deliberately wrong."""

    def __call__(self, pool: Pool, k: int) -> Tensor:
        return first_of(torch.rand(pool.scores.shape, generator=torch_rng(0, "shuffle")).argsort(1), pool, k)

    def multiply_adds(self, pool: Pool, k: int) -> float:
        return 0.0


def recipe(
    *,
    rerank: Reranker = AS_RETRIEVED,
    canonical: Canonicaliser | None = None,
    interests: Interests | None = None,
    index: dict[str, int] | None = None,
    ceiling: bool = False,
    **world: Any,
) -> Diversify:
    """`index` holds depth, lists and probes."""
    return Diversify(
        world=Catalogue(**world),
        rerank=rerank,
        canonical=canonical,
        interests=interests,
        ceiling=ceiling,
        **(index or {}),
    )


def healthy(**given: Any) -> Diversify:
    return recipe(**{**given, **ONE_LISTING})


def better(arm: str, by: float, versus: str = "topk", **more: Any) -> Claim:
    return Moves(metric=ALPHA, arm=arm, versus=versus, by=by, relative=True, **more)


def relevant(arm: str) -> Claim:
    return Keeps(metric=GAIN, arm=arm, versus="healthy", within=0.25, side="below", relative=True)


CANONICAL = {"canonical": Canonicaliser()}
FEW = {"lists": 12, "probes": 1}  # a query visits one list of twelve
DEMANDED = {"most": 1, "intents": (0.25, 0.25, 0.25, 0.25)}

PROBLEM = Problem(
    title="Repetitive results from an index with good recall",
    area="retrieval",
    arms={
        "healthy": healthy,
        "topk": recipe,
        "shuffle": partial(recipe, rerank=Shuffle()),
        "mmr": partial(recipe, rerank=Diverse(method="mmr", lam=0.3)),
        "mmr_half": partial(recipe, rerank=Diverse(method="mmr", lam=0.5)),
        "dpp": partial(recipe, rerank=Diverse(method="dpp", lam=0.3)),
        "cap": partial(recipe, rerank=NearDuplicateCap()),
        "cells": partial(recipe, rerank=CellQuota()),
        "deep": partial(recipe, rerank=Diverse(method="dpp", lam=0.3), index={"depth": 500}),
        "canonical": partial(recipe, **CANONICAL),
        "canonical_mmr": partial(recipe, rerank=Diverse(method="mmr", lam=0.3), **CANONICAL),
        "canonical_dpp": partial(recipe, rerank=Diverse(method="dpp", lam=0.3), **CANONICAL),
        "one_interest": partial(recipe, interests=Interests(num=1), **CANONICAL),
        "interests": partial(recipe, rerank=Shares(by="equal"), interests=Interests()),
        "interests_equal": partial(recipe, rerank=Shares(by="equal"), interests=Interests(), **CANONICAL),
        "interests_calibrated": partial(recipe, rerank=Shares(), interests=Interests(), **CANONICAL),
        "xquad": partial(recipe, rerank=XQuad(), interests=Interests(), **CANONICAL),
        "ceiling": partial(recipe, ceiling=True),
    },
    world={"on": {}, "off": PLAIN, "starved": STARVED, "noisy": {"noise": 0.35}, "sparse": {"num_aspects": 200}},
    symptom=(
        Reaches(metric="recall@100", arm="topk", at_least=0.95),
        Moves(metric=UNIQUE, arm="topk", versus="healthy", by=-0.3),
        Moves(metric=ALPHA, arm="topk", versus="healthy", by=-0.05),
        Moves(metric=MASS, arm="topk", versus="ceiling", by=-0.3),
    ),
    diagnosis=STANDARD_DIAGNOSIS,
    remedy=(
        better("dpp", 0.15),
        better("canonical_mmr", 0.15),
        better("canonical_dpp", 0.15),
        Reaches(metric=UNIQUE, arm="dpp", at_least=0.95),
        Reaches(metric=UNIQUE, arm="canonical_mmr", at_least=0.95),
        Recovers(metric=ALPHA, arm="canonical", broken="topk", healthy="dpp", share=0.6),
        Moves(metric="multiply_adds", arm="canonical", versus="topk", by=-0.3, relative=True),
        better("interests_calibrated", 0.15, versus="canonical_dpp"),
        better("xquad", 0.15, versus="canonical_dpp"),
        Moves(metric=MASS, arm="interests", versus="topk", by=0.25),
        Moves(metric=MASS, arm="interests_calibrated", versus="one_interest", by=0.15),
        Moves(metric=GAIN, arm="interests_calibrated", versus="interests_equal", by=0.01),
        better("canonical_dpp", 0.1, versus="dpp", at="starved"),
        better("deep", 0.05, versus="dpp", at="starved"),
    ),
    guard=(
        relevant("dpp"),
        relevant("canonical_mmr"),
        relevant("canonical_dpp"),
        relevant("interests_calibrated"),
        Reaches(metric="filled", arm="cap", at_least=1.0),
        Reaches(metric="purity", arm="canonical", at_least=0.99),
        Reaches(metric="purity", arm="canonical", at_least=0.99, at="noisy"),
        Keeps(metric="multiply_adds", arm="canonical", versus="healthy", within=0.1, side="above", relative=True),
    ),
    control=(
        Keeps(metric=ALPHA, arm="canonical", versus="topk", within=0.01, at="off"),
        Keeps(metric=ALPHA, arm="dpp", versus="topk", within=0.02, at="off"),
        Keeps(metric=ALPHA, arm="interests_calibrated", versus="one_interest", within=0.05, at="off"),
        Moves(metric="ild@10", arm="shuffle", versus="topk", by=0.15),
        Moves(metric=ALPHA, arm="shuffle", versus="dpp", by=-0.1),
        Moves(metric=ALPHA, arm="shuffle", versus="topk", by=-0.05, at="sparse"),
        Keeps(metric=ALPHA, arm="shuffle", versus="topk", within=0.02, side="above"),
        Keeps(metric=ALPHA, arm="deep", versus="dpp", within=0.02),
    ),
    detector=Repetition(),
    cases=(
        Case(cause=HEALTHY, arm="topk", world=PLAIN),
        Case(cause=HEALTHY, arm="interests_calibrated", world=ONE_LISTING),
        Case(cause=HEALTHY, arm="canonical", world=PLAIN | {"spread": 0.8, "query_noise": 0.25}, fresh=True),
        Case(cause="near_duplicates", arm="topk", world={"intents": (1.0,)}),
        Case(cause="near_duplicates", arm="topk", world={"intents": (1.0,), "tail": 1.4, "most": 20}, fresh=True),
        Case(cause="single_mode_query", arm="topk", world=ONE_LISTING),
        Case(cause="single_mode_query", arm="canonical", world={"intents": (0.6, 0.25, 0.15)}, fresh=True),
        Case(cause="embedding_collapse", arm="topk", world=PLAIN | {"collapse": 0.9}),
        Case(cause="embedding_collapse", arm="canonical", world=PLAIN | {"collapse": 0.94}, fresh=True),
        Case(cause="popularity_bias", arm="topk", world=PLAIN | {"popularity": 1.0}),
        Case(cause="popularity_bias", arm="topk", world=PLAIN | {"popularity": 1.5}, fresh=True),
        Case(cause="coarse_index", arm="topk", world=DEMANDED | {"index": FEW}),
        Case(cause="coarse_index", arm="topk", world={"most": 1, "intents": (0.5, 0.5), "index": {"lists": 10, "probes": 1}},
             fresh=True),
        Case(cause="near_duplicates|single_mode_query", arm="topk", world={}),
        Case(
            cause="near_duplicates|single_mode_query",
            arm="topk",
            world={"intents": (0.5, 0.3, 0.2), "tail": 1.3},
            fresh=True,
        ),
        Case(cause="near_duplicates|embedding_collapse", arm="topk", world={"intents": (1.0,), "collapse": 0.9}, fresh=True),
    ),
    ceiling="ceiling",
    sweep=Sweep(
        axes={"most": (1, 6, 60), "num_aspects": (30, 100, 200)},
        arms=("topk", "shuffle", "canonical", "canonical_dpp", "interests_calibrated"),
        metric=ALPHA,
    ),
)  # fmt: skip
