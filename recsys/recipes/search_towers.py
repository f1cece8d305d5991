"""Queries and items in one space, learnt from a search log: what a query is made of, and which clicks are learnt from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recsys.data.spec import FIRST, UNKNOWN
from recsys.diagnose.diagnosis import Evidence
from recsys.encoders.ids import HashedIds
from recsys.encoders.token_bag import TokenBag
from recsys.evaluate.buckets import bucket_means, micro_mean, recall_of_each
from recsys.evaluate.lexical import BM25
from recsys.losses.in_batch import InBatchSoftmax
from recsys.random import torch_rng
from recsys.recipe import Metrics
from recsys.recipes.cross_teacher import CrossTeacher
from recsys.recipes.search_evidence import evidence_of
from recsys.recipes.search_model import Pair, dense, judgements, num_tokens, typed_times
from recsys.rerank.fusion import ReciprocalRankFusion
from recsys.samplers.balanced import Balanced
from recsys.samplers.lexical_negatives import LexicalNegatives
from recsys.samplers.query_generator import QueryGenerator
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import require, value
from recsys.worlds.searches import SearchLogs
from recsys.worlds.truth_searches import SearchesTruth
from recsys.worlds.world import World

CUTOFF = 100
KNOWN = {"head": (1.0, 2.0), "tail": (0.0, 1.0)}  # of a column that is 1 for queries of the head


@dataclass(frozen=True)
class Rows:
    """What is learnt from: clicks first, then generated queries."""

    words: Tensor  # [N, L]
    query: Tensor  # [N] row of the log's queries, -1 of a generated one
    item: Tensor  # [N]
    clicks: int


@value
class SearchTowers:
    """In-batch softmax over clicks. The sampler's strength is 1 - alpha: queries are drawn as frequency to the power alpha.

    `synthetic` is the share of a batch that are generated queries, `mined` adds rivals found by a query's words, `fusion`
    merges the list with that of BM25 at the time of the search.
    """

    world: World
    encoder: Any = TokenBag()  # a QueryEncoder
    query_ids: HashedIds | None = HashedIds()
    item_ids: HashedIds | None = HashedIds()
    titles: bool = True  # items are told by their words, too; False leaves nothing but ids
    sampler: Balanced = Balanced(batch=256, strength=0.0)
    loss: InBatchSoftmax = InBatchSoftmax(temperature=0.3)
    synthetic: float = 0.0
    generator: QueryGenerator = QueryGenerator(num=40_000)
    mined: LexicalNegatives | None = None
    teacher: CrossTeacher | None = None
    fusion: ReciprocalRankFusion | None = None
    fused: Literal["all", "unseen"] = "all"  # queries whose lists are fused
    dim: int = 32
    train: Fit = Fit(steps=250, learning_rate=4e-2)
    scored: Literal["model", "words", "truth"] = "model"

    def __post_init__(self) -> None:
        require(0 <= self.synthetic < 1, f"synthetic must lie in [0, 1), got {self.synthetic}")
        require(self.titles or self.item_ids is not None, "items without titles need item_ids: nothing else is left")

    def fit(self, logs: SearchLogs, seed: int) -> Fitted:
        model = self.build(logs, seed)
        if self.scored != "model":
            return Fitted(model.eval(), (), 0)
        return self.train(model, self.lesson(logs, seed), seed)

    def build(self, logs: SearchLogs, seed: int) -> Pair:
        text = self.encoder.build(num_tokens(logs), self.dim, logs.items.shape[1], seed)
        queries = self.query_ids and self.query_ids.build(self.dim, seed, "query ids")
        items = self.item_ids and self.item_ids.build(self.dim, seed, "item ids")
        return Pair(text, queries, items, self.titles)

    def rows(self, logs: SearchLogs, seed: int) -> Rows:
        query, item = logs.clicks.unbind(1)
        if not self.synthetic:
            return Rows(logs.queries[query], query, item, len(query))
        words, made = self.generator(logs.items, logs.queries[query], seed)
        both = torch.cat([query, torch.full_like(made, -1)])
        return Rows(torch.cat([logs.queries[query], words]), both, torch.cat([item, made]), len(query))

    def lesson(self, logs: SearchLogs, seed: int) -> Lesson:
        """Clicks and generated queries; with a teacher, which is trained here, also what it says of them."""
        rows, wanted, now = self.rows(logs, seed), judgements(logs), {"step": 0}
        log_q = self.log_expected(rows, len(logs.items))
        table = self.mined and self.mined.table(logs.items, logs.queries, logs.clicks)
        told = self._taught(logs, seed)

        def loss(model: Pair, words: Tensor, ids: Tensor, query: Tensor, item: Tensor) -> Tensor:
            asked, found = model(words, ids, logs.items[item], item + FIRST)
            hard = None
            if self.mined is not None and table is not None:
                hard = _rivals(model, asked, logs.items, self.mined(table[query.clamp(min=0)], seed, now["step"]))
                hard = hard.masked_fill((query < 0)[:, None], -torch.inf)
            scores = asked @ found.T
            plain = self.loss(scores, query, item, log_q[item], hard).mean()
            if self.teacher is None or told is None:
                return plain
            return plain + self.teacher.loss(told, words, logs.items[item], scores / self.loss.temperature)

        def validate(model: nn.Module) -> float:
            assert isinstance(model, Pair)
            held = recall_of_each(dense(model, logs, logs.judged, logs.judged_id), wanted, CUTOFF)
            means = bucket_means(held, (logs.judged_id >= FIRST).float(), KNOWN)
            return sum(means.values()) / len(means)

        def draw(step: int) -> Tensor:
            now["step"] = step
            return self.drawn(rows, seed, step)

        ids = (rows.query + FIRST).clamp(min=UNKNOWN)
        return Lesson((rows.words, ids, rows.query, rows.item), loss, validate, draw)

    def drawn(self, rows: Rows, seed: int, step: int) -> Tensor:
        """[b] rows of a step."""
        clicks = self.sampler(rows.query[: rows.clicks], seed, step)[: self.sampler.batch - self.made]
        if not self.made:
            return clicks
        generator = torch_rng(seed, "synthetic", step)
        made = torch.randint(len(rows.item) - rows.clicks, (self.made,), generator=generator)
        return torch.cat([clicks, rows.clicks + made])

    @property
    def made(self) -> int:
        """Generated queries of a batch."""
        return round(self.synthetic * self.sampler.batch)

    def log_expected(self, rows: Rows, num_items: int) -> Tensor:
        """[I] log of how often a batch is to be expected to hold each item; -inf for one that it can't."""
        clicked = self.sampler.weights(rows.query[: rows.clicks]) * (self.sampler.batch - self.made)
        others = len(rows.item) - rows.clicks
        weight = torch.cat([clicked, torch.full((others,), self.made / max(1, others), dtype=clicked.dtype)])
        return torch.zeros(num_items, dtype=weight.dtype).index_add_(0, rows.item, weight).log().float()

    @torch.no_grad()
    def scores(self, model: Pair, logs: SearchLogs, words: Tensor, ids: Tensor) -> Tensor:
        """[Q, I] as served."""
        if self.scored == "words":
            return BM25().fit(logs.items)(words)
        found = dense(model, logs, words, ids)
        if self.fusion is None:
            return found
        fused = self.fusion(found, BM25().fit(logs.items)(words))
        return fused if self.fused == "all" else torch.where((ids == UNKNOWN)[:, None], fused, found)

    def evaluate(self, fitted: Fitted, logs: SearchLogs, truth: SearchesTruth) -> Metrics:
        """Recall among the first hundred, each query once: of the head, and of queries never typed before."""
        assert isinstance(fitted.model, Pair)
        scores = self.scores(fitted.model, logs, logs.held_out, logs.held_out_id)
        held = recall_of_each(truth.relevant.float() if self.scored == "truth" else scores, truth.relevant, CUTOFF)
        means = bucket_means(held, truth.head.float(), KNOWN)
        named = {f"recall@{CUTOFF}[{name}]": mean for name, mean in means.items()}
        traffic = micro_mean(held, typed_times(logs, logs.held_out_id))
        return {**named, f"recall@{CUTOFF}[traffic]": traffic, **fitted.stats()}

    def evidence(self, fitted: Fitted, logs: SearchLogs, seed: int) -> Evidence:
        assert isinstance(fitted.model, Pair)
        return evidence_of(self, fitted, logs, seed)

    def _taught(self, logs: SearchLogs, seed: int) -> nn.Module | None:
        if self.teacher is None:
            return None
        return self.teacher.fit(replace(self, teacher=None).lesson(logs, seed), logs.items, seed).model


def _rivals(model: Pair, asked: Tensor, titles: Tensor, rivals: Tensor) -> Tensor:
    """[B, H] cosines of queries [B, D] and rivals [B, H] of their own, -inf where there is none."""
    items = rivals.clamp(min=0).flatten()
    vectors = model.item(titles[items], items + FIRST).view(*rivals.shape, -1)
    return torch.einsum("bd,bhd->bh", asked, vectors).masked_fill(rivals < 0, -torch.inf)
