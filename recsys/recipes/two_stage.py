"""Retrieve by vectors, rank by a few features of which the retrieval score is one: two models and a contract."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recsys.calibrate.scores import Contract, per_list, quantile_map
from recsys.heads.list_ranker import ListRanker
from recsys.index.exact import exact_search
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import torch_rng
from recsys.recipe import Metrics
from recsys.recipes.towers import Bundle, Retriever
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import value
from recsys.worlds.latent import HELD_OUT, TRAIN, VALIDATION
from recsys.worlds.latent_search import SearchLogs
from recsys.worlds.world import World

PLACES, LISTS = 10, 16  # shown; of a coarse index


@dataclass(frozen=True)
class Candidates:
    """What a retriever hands on: items and the scores that it exports with them, best first."""

    items: Tensor  # [Q, C] int64
    scores: Tensor  # [Q, C]


@dataclass(frozen=True)
class Pipeline:
    """A retriever's candidates and the ranker that orders them."""

    bundle: Bundle
    stored: Tensor  # [I, D] vectors in the index
    candidates: Candidates
    ranker: Fitted
    features: Tensor  # [Q, C, F] what the ranker is given


@dataclass(frozen=True)
class Deployment:
    """Before and after; the same pipeline twice where nothing was deployed."""

    before: Pipeline
    after: Pipeline


@value
class TwoStage:
    """A fine-tuned retriever goes live in front of a ranker that was trained behind the old one.

    Faults of the deployment: `drift` is the factor by which the new retriever's exported scores are on another scale (a
    temperature folded into the vectors), `stale` the share of items whose old vector stayed in the index, `probes` the
    lists that a coarse index visits (None: exact). `contract` and `ranker` are what can be done about it.
    """

    world: World
    retriever: Retriever = Retriever()
    head: ListRanker = ListRanker()
    deployed: bool = True
    drift: float = 1.0
    stale: float = 0.0
    probes: int | None = None
    contract: Literal["raw", "zscore", "rank", "quantile", "old_score"] = "raw"
    ranker: Literal["old", "retrained"] = "old"
    best: bool = False  # candidates in the order of their true utility: the ceiling
    num_candidates: int = 100
    rank: Fit = Fit(steps=200, batch=64, learning_rate=1e-2)

    def fit(self, logs: SearchLogs, seed: int) -> Deployment:
        towers = self.retriever.first(logs, seed)
        old = self.retriever.bundle(towers, logs)
        found = self.retrieved(old, old.items, logs.listed, None)
        before = self.piped(old, old.items, found, logs, seed)
        if not self.deployed:
            return Deployment(before, before)
        new = self.retriever.tuned(towers, logs, (found.items, before.ranker.model(before.features)), seed)
        stays = torch.rand(len(new.items), generator=torch_rng(seed, "stale")) < self.stale
        stored = torch.where((stays & logs.listed)[:, None], old.items, new.items)
        return Deployment(before, self.live(before, new, stored, logs, seed))

    def live(self, before: Pipeline, new: Bundle, stored: Tensor, logs: SearchLogs, seed: int) -> Pipeline:
        """The pipeline after the new vectors went live, with this recipe's contract and ranker."""
        found = self.retrieved(new, stored, torch.ones_like(logs.listed), self.probes)
        found = replace(found, scores=found.scores * self.drift)
        if self.ranker == "retrained":
            return self.piped(new, stored, found, logs, seed)
        return Pipeline(new, stored, found, before.ranker, self.features(before, found, logs))

    def retrieved(self, bundle: Bundle, stored: Tensor, listed: Tensor, probes: int | None) -> Candidates:
        """The nearest listed items among the stored vectors, exactly or by visiting a few lists."""
        spec = IndexSpec(
            kind="flat" if probes is None else "ivf", lists=None if probes is None else LISTS, probes=probes
        )
        ids = listed.nonzero().squeeze(1)
        index = VectorIndex.build(stored[ids].numpy(), ids.numpy(), spec)
        hits = index.search(bundle.queries.numpy(), self.num_candidates)
        return Candidates(torch.from_numpy(hits.ids), torch.from_numpy(hits.scores))

    def features(self, before: Pipeline | None, found: Candidates, logs: SearchLogs) -> Tensor:
        """[Q, C, 1 + A]: the score under the contract, beside the items' attributes."""
        if self.contract == "quantile" and before is not None:
            train = logs.part == TRAIN
            score = quantile_map(found.scores[train].flatten(), before.candidates.scores[train].flatten(), found.scores)
        elif self.contract == "old_score" and before is not None:
            score = before.bundle.scores(found.items)
        else:
            score = per_list(found.scores, _own(self.contract))
        return torch.cat([score[..., None], logs.attributes[found.items]], dim=2)

    def piped(self, bundle: Bundle, stored: Tensor, found: Candidates, logs: SearchLogs, seed: int) -> Pipeline:
        """Train a ranker on what these candidates were answered with when they were shown."""
        features, train = self.features(None, found, logs), logs.part == TRAIN
        clicked = logs.answers.gather(1, found.items).float()
        check = logs.part == VALIDATION

        def validate(model: nn.Module) -> float:
            return float(clicks_found(shown(model, features[check], found.items[check]), logs.answers[check]).mean())

        lesson = Lesson((features[train], clicked[train]), _listwise, validate)
        model = self.head.build(features[train], seed)
        return Pipeline(bundle, stored, found, self.rank(model, lesson, seed), features)

    def evaluate(self, fitted: Deployment, logs: SearchLogs, truth: Any) -> Metrics:
        pipe, held = fitted.after, logs.part == HELD_OUT
        grades, items = truth.grades(held), pipe.candidates.items[held]
        top = shown(pipe.ranker.model, pipe.features[held], items)
        if self.best:
            top = items.gather(1, truth.utility[held].gather(1, items).topk(PLACES).indices)
        relevant = grades >= 2
        return {
            "ndcg@10": float(ndcg(top, grades).mean()),
            "recall@100": float((relevant.gather(1, items).sum(1) / relevant.sum(1)).mean()),
            "fidelity": fidelity(pipe, held),
            "expected_clicks": float(truth.utility.sigmoid()[held].gather(1, top).mean()),
            **pipe.ranker.stats(),
            "parameters": pipe.ranker.stats()["parameters"] + pipe.bundle.parameters,
        }

    def evidence(self, fitted: Deployment, logs: SearchLogs, seed: int) -> Any:
        from recsys.recipes.two_stage_evidence import evidence

        return evidence(self, fitted, logs, seed)


def fidelity(pipe: Pipeline, rows: Tensor) -> float:
    """Share of the exactly nearest stored vectors that the index found, for the queries [Q] bool."""
    stored, queries = pipe.stored.numpy(), pipe.bundle.queries[rows].numpy()
    items = pipe.candidates.items[rows].numpy()
    exact = exact_search(stored, np.arange(len(stored)), queries, items.shape[1])
    return float(np.mean([np.isin(want, found).mean() for want, found in zip(exact.ids, items, strict=True)]))


@torch.no_grad()
def shown(ranker: nn.Module, features: Tensor, items: Tensor) -> Tensor:
    """[Q, PLACES] the items that the ranker puts first."""
    return items.gather(1, ranker(features).topk(PLACES).indices)


def ndcg(top: Tensor, grades: Tensor) -> Tensor:
    """[Q] NDCG of items [Q, K] by gains 2^grade - 1; the ideal is the best of the whole catalogue [Q, I]."""
    gains, discount = 2.0**grades - 1, discounts(top.shape[1])
    return (gains.gather(1, top) @ discount) / (gains.topk(top.shape[1]).values @ discount)


def clicks_found(top: Tensor, answers: Tensor) -> Tensor:
    """[Q] discounted clicks on what is shown [Q, K], out of a click on every place: no candidate set normalises it."""
    discount = discounts(top.shape[1])
    return answers.gather(1, top).float() @ discount / discount.sum()


def discounts(places: int) -> Tensor:
    return 1 / torch.arange(2, places + 2).float().log2()


def _own(contract: str) -> Contract:
    """What is done to a list by itself; the other contracts need the old pipeline, and train on raw scores."""
    return contract if contract in ("zscore", "rank") else "raw"  # type: ignore[return-value]


def _listwise(model: Any, features: Tensor, clicked: Tensor) -> Tensor:
    share = clicked / clicked.sum(1, keepdim=True).clamp(min=1)
    return -(share * model(features).log_softmax(1)).sum(1).mean()
