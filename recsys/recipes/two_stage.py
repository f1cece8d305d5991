"""Retrieve by vectors, rank by a few features of which the retrieval score is one: two models and a contract."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recsys.calibrate.scores import Contract, per_list, quantile_map
from recsys.diagnose.diagnosis import Evidence
from recsys.heads.list_ranker import ListRanker
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import torch_rng
from recsys.recipe import Metrics
from recsys.recipes.pipeline import (
    PLACES,
    Candidates,
    Deployment,
    Pipeline,
    clicks_found,
    fidelity,
    ndcg,
    shown,
)
from recsys.recipes.towers import Bundle, Retriever
from recsys.recipes.two_stage_evidence import stage_evidence
from recsys.train.fit import Fit, Lesson
from recsys.value import value
from recsys.worlds.latent import HELD_OUT, TRAIN, VALIDATION
from recsys.worlds.latent_search import SearchLogs
from recsys.worlds.world import World

LISTS = 16  # of a coarse index


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
        before = self.piped(old, (old.items, logs.listed), found, logs, seed)
        if not self.deployed:
            return Deployment(before, before)
        new = self.retriever.tuned(towers, logs, (found.items, before.ranker.model(before.features)), seed)
        stays = torch.rand(len(new.items), generator=torch_rng(seed, "stale")) < self.stale
        stored = torch.where((stays & logs.listed)[:, None], old.items, new.items)
        return Deployment(before, self.live(before, new, stored, logs, seed))

    def live(self, before: Pipeline, new: Bundle, stored: Tensor, logs: SearchLogs, seed: int) -> Pipeline:
        """The pipeline after the new vectors went live, with this recipe's contract and ranker."""
        everything = torch.ones_like(logs.listed)
        found = self.retrieved(new, stored, everything, self.probes)
        found = replace(found, scores=found.scores * self.drift)
        if self.ranker == "retrained":
            return self.piped(new, (stored, everything), found, logs, seed)
        return Pipeline(new, stored, everything, found, before.ranker, self.features(before, found, logs))

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

    def piped(
        self, bundle: Bundle, index: tuple[Tensor, Tensor], found: Candidates, logs: SearchLogs, seed: int
    ) -> Pipeline:
        """Train a ranker on what these candidates were answered with when they were shown."""
        features, train = self.features(None, found, logs), logs.part == TRAIN
        clicked = logs.answers.gather(1, found.items).float()
        check = logs.part == VALIDATION

        def validate(model: nn.Module) -> float:
            return float(clicks_found(shown(model, features[check], found.items[check]), logs.answers[check]).mean())

        lesson = Lesson((features[train], clicked[train]), _listwise, validate)
        model = self.head.build(features[train], seed)
        return Pipeline(bundle, *index, found, self.rank(model, lesson, seed), features)

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

    def evidence(self, fitted: Deployment, logs: SearchLogs, seed: int) -> Evidence:
        """The audits, and logged clicks of validation queries under exchanges of one stage."""
        retrained = self.ranker == "retrained"
        exchanged = self.exchanges(fitted, logs, seed) if self.deployed else {}
        return stage_evidence(fitted, exchanged, logs, retrained)

    def exchanges(self, fitted: Deployment, logs: SearchLogs, seed: int) -> dict[str, Pipeline]:
        """The live pipeline with one stage put right at a time."""
        before, after = fitted.before, fitted.after
        mapped = self if self.contract in ("zscore", "rank") else replace(self, contract="quantile")
        others = {
            "mapped": (mapped, after.stored),
            "retrained": (replace(self, ranker="retrained"), after.stored),
            "reindexed": (replace(self, probes=None), after.bundle.items),
        }
        return {name: other.live(before, after.bundle, stored, logs, seed) for name, (other, stored) in others.items()}


def _own(contract: str) -> Contract:
    """What is done to a list by itself; the other contracts need the old pipeline, and train on raw scores."""
    return contract if contract in ("zscore", "rank") else "raw"  # type: ignore[return-value]


def _listwise(model: Any, features: Tensor, clicked: Tensor) -> Tensor:
    share = clicked / clicked.sum(1, keepdim=True).clamp(min=1)
    return -(share * model(features).log_softmax(1)).sum(1).mean()
