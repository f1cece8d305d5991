"""A query encoder is replaced by a smaller one, under an index of items that stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from recsys.diagnose.diagnosis import Evidence, Part
from recsys.encoders.int8 import quantised
from recsys.encoders.query import HashedBag, QueryEncoder, Transformer, TransformerModule, truncated
from recsys.losses.distil import EmbeddingDistill, ScoreDistill
from recsys.random import stream_seed, torch_rng
from recsys.recipe import Metrics
from recsys.recipes.common_evidence import QUERIES, search_parts, vector_parts
from recsys.recipes.endpoint import Endpoint
from recsys.recipes.query_scores import agreement_of, quality, spans_of, timed
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.train.memo import Memo
from recsys.value import require, value
from recsys.worlds.tokens import TokensLogs
from recsys.worlds.truth_tokens import TokensTruth
from recsys.worlds.world import World

TEMPERATURE = 0.1  # of scores in the loss of clicks
COMPARED = 300  # items over which the student's scores are held against the teacher's
once = Memo()


@dataclass(frozen=True, slots=True)
class Towers:
    """The teacher with its index, and what answers queries instead of it."""

    teacher: nn.Module
    items: Tensor  # [I, D] the index that was built for the teacher
    student: nn.Module
    searched: Tensor  # [I, D] the index that the student searches
    fitted: Fitted
    trained_on: Tensor  # queries that the student has learnt from
    seed: int


@value
class Distil:
    """How the student learns.

    With "clicks" the teacher has no say; with "labelled" and "unlabelled" queries its vectors are what is learnt, and
    `score_weight` adds the divergence of scores. `layers_of_teacher` starts from the teacher's first layers; "nothing"
    stops there. `reindex` gives the student item vectors of its own, which a hundred million stored ones forbid.
    """

    data: Literal["clicks", "labelled", "unlabelled", "nothing"] = "unlabelled"
    score_weight: float = 0.0
    layers_of_teacher: int | None = None
    reindex: bool = False

    def __post_init__(self) -> None:
        learns = self.data != "nothing" or self.layers_of_teacher is not None
        require(learns, 'who learns from "nothing" needs layers_of_teacher')
        require(not self.reindex or self.data == "clicks", 'reindex needs data "clicks"')


@value
class QueryTower:
    """The teacher is trained on clicks of all domains, with a linear tower of items; then the student is."""

    world: World
    teacher: Transformer = Transformer()
    train_teacher: Fit = Fit(steps=700, batch=128, learning_rate=6e-3)
    student: Transformer | HashedBag = Transformer(layers=1)
    train: Fit = Fit(steps=600, batch=128, learning_rate=6e-3)
    distil: Distil | None = Distil()  # None: the teacher answers itself
    int8: bool = False
    endpoint: Endpoint = Endpoint()
    ceiling: bool = False

    @property
    def encoder(self) -> QueryEncoder:
        """What answers queries."""
        if self.distil is None:
            return self.teacher
        layers = self.distil.layers_of_teacher
        return self.student if layers is None else replace(self.teacher, layers=layers)

    def fit(self, logs: TokensLogs, seed: int) -> Towers:
        read = (logs.items, logs.broad, logs.broad_clicks, logs.validation, logs.validation_clicks)
        pair = once((self.teacher, self.train_teacher, seed), read, lambda: self._teach(logs, seed))
        assert isinstance(pair.model, Pair)
        teacher, items = pair.model.query, pair.model.index(logs.items)
        if self.distil is None:
            student = quantised(teacher) if self.int8 else teacher
            return Towers(teacher, items, student, items, pair, logs.unlabelled, seed)
        knobs = (self.teacher, self.train_teacher, self.student, self.train, self.distil, seed)
        more = (logs.clicked, logs.clicks, logs.unlabelled)
        fitted = once(knobs, (*read, *more), lambda: self._learn(logs, teacher, items, seed))
        model, searched = fitted.model, items
        if isinstance(model, Pair):
            model, searched = model.query, model.index(logs.items)
        student = quantised(model) if self.int8 else model
        labelled = self.distil.data in ("clicks", "labelled")
        return Towers(teacher, items, student, searched, fitted, logs.clicked if labelled else logs.unlabelled, seed)

    def evaluate(self, fitted: Towers, logs: TokensLogs, truth: TokensTruth) -> Metrics:
        with torch.no_grad():
            vectors, teacher = fitted.student(logs.held_out), fitted.teacher(logs.held_out)
        if self.ceiling:
            vectors, searched = truth.queries, truth.items
        else:
            searched = fitted.searched
        metrics = quality(vectors @ searched.T, teacher @ fitted.items.T, truth)
        metrics["index_same"] = float(torch.equal(fitted.items, fitted.searched))
        served = self.endpoint(logs.held_out, logs.traffic, self.encoder, vectors.shape[1], fitted.seed)
        held = {**metrics, **served.summary(), **fitted.fitted.stats()}
        return held | timed(fitted.student, fitted.teacher, logs.held_out)

    def evidence(self, fitted: Towers, logs: TokensLogs, seed: int) -> Evidence:
        served = self.endpoint(logs.held_out, logs.traffic, self.encoder, fitted.items.shape[1], seed)
        spans = spans_of(served, self.endpoint.budget_ms)
        space = *vector_parts(fitted.searched), *_searched(fitted, logs)
        if self.distil is None:
            return Evidence.of(spans, *space)
        models, indexes = (fitted.teacher, fitted.student), (fitted.items, fitted.searched)
        agreement = agreement_of(models, indexes, fitted.trained_on, logs.validation)
        return Evidence.of(spans, agreement, *space)

    def _teach(self, logs: TokensLogs, seed: int) -> Fitted:
        lesson = _of_clicks(logs, logs.broad, logs.broad_clicks)
        return self.train_teacher(_pair(self.teacher, logs, seed), lesson, seed)

    def _learn(self, logs: TokensLogs, teacher: nn.Module, items: Tensor, seed: int) -> Fitted:
        assert self.distil is not None
        if self.distil.reindex:
            own = _of_clicks(logs, logs.clicked, logs.clicks[:, None])
            return self.train(_pair(self.student, logs, seed), own, seed)
        student = self._start(logs, teacher, seed)
        if self.distil.data == "nothing":
            return Fitted(student.eval(), (), 0)

        def clicks(model: nn.Module, tokens: Tensor, clicked: Tensor) -> Tensor:
            return nn.functional.cross_entropy(model(tokens) @ items.T / TEMPERATURE, clicked)

        def validate(model: nn.Module) -> float:
            return -float(clicks(model, logs.validation, logs.validation_clicks))

        if self.distil.data == "clicks":
            return self.train(student, Lesson((logs.clicked, logs.clicks), clicks, validate), seed)
        queries = logs.clicked if self.distil.data == "labelled" else logs.unlabelled
        with torch.no_grad():
            vectors = teacher(queries)
        few = items[torch.randperm(len(items), generator=torch_rng(seed, "compared"))[:COMPARED]]
        near, alike, weight = EmbeddingDistill(), ScoreDistill(temperature=TEMPERATURE), self.distil.score_weight

        def distil(model: nn.Module, tokens: Tensor, wanted: Tensor) -> Tensor:
            given = model(tokens)
            loss = near(given, wanted)
            return (loss + weight * alike(given, wanted, few) if weight else loss).mean()

        return self.train(student, Lesson((queries, vectors), distil, validate), seed)

    def _start(self, logs: TokensLogs, teacher: nn.Module, seed: int) -> nn.Module:
        assert self.distil is not None
        if self.distil.layers_of_teacher is not None:
            assert isinstance(teacher, TransformerModule)
            return truncated(teacher, self.distil.layers_of_teacher)
        return self.student.build(_num_tokens(logs), _dim(logs), logs.broad.shape[1], seed)


class Pair(nn.Module):
    """An encoder of queries beside a linear tower of items."""

    def __init__(self, query: nn.Module, item: nn.Linear) -> None:
        super().__init__()
        self.query, self.item = query, item

    def forward(self, tokens: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.query(tokens), normalize(self.item(features), dim=1)

    @torch.no_grad()
    def index(self, features: Tensor) -> Tensor:
        """[I, D] item vectors, computed once."""
        return normalize(self.item(features), dim=1)


@torch.no_grad()
def _searched(fitted: Towers, logs: TokensLogs) -> tuple[Part, ...]:
    """What queries that have a click find."""
    queries = fitted.student(logs.clicked[:QUERIES])
    return search_parts(fitted.searched, queries, logs.clicks[:QUERIES, None], logs.items)


def _pair(encoder: QueryEncoder, logs: TokensLogs, seed: int) -> Pair:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "item tower"))
        item = nn.Linear(logs.items.shape[1], _dim(logs))
    return Pair(encoder.build(_num_tokens(logs), _dim(logs), logs.broad.shape[1], seed), item)


def _of_clicks(logs: TokensLogs, queries: Tensor, clicks: Tensor) -> Lesson:
    """Both towers, by the softmax over all items of each click [N, c]."""

    def loss(model: nn.Module, tokens: Tensor, clicked: Tensor) -> Tensor:
        query, items = model(tokens, logs.items)
        return -(query @ items.T / TEMPERATURE).log_softmax(1).gather(1, clicked).mean()

    def validate(model: nn.Module) -> float:
        return -float(loss(model, logs.validation, logs.validation_clicks[:, None]))

    return Lesson((queries, clicks), loss, validate)


def _num_tokens(logs: TokensLogs) -> int:
    return int(logs.broad.max())


def _dim(logs: TokensLogs) -> int:
    return logs.items.shape[1] // 2
