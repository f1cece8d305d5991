"""What somebody who runs a search engine has of its retriever: judged queries, batches, and two trainings more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsys.data.spec import FIRST
from recsys.diagnose.diagnosis import Evidence, Part
from recsys.diagnose.tail_queries import JudgedQueries, QueryBatches, SearchRefits
from recsys.evaluate.buckets import recall_of_each
from recsys.evaluate.lexical import BM25
from recsys.evaluate.ranks import top_k
from recsys.losses.in_batch import collisions
from recsys.recipes.common_evidence import QUERIES, clicks_of, search_parts, vector_parts
from recsys.recipes.search_model import Pair, dense, judgements, typed_times
from recsys.train.fit import Fitted
from recsys.worlds.searches import SearchLogs

CUTOFF, BATCHES = 100, 8
FEW = 0.005  # of a row's rivals: below, a mask has nothing to mask


def evidence_of(recipe: Any, fitted: Fitted, logs: SearchLogs, seed: int) -> Evidence:
    """Recall of judged queries as a `SearchTowers` serves them, and of it trained again with one thing changed."""
    model = fitted.model
    assert isinstance(model, Pair)
    batches = _batches(recipe, logs, seed)
    refits = _refits(recipe, model, logs, float(batches.collisions.mean()), seed)
    return Evidence.of(_judged(recipe, model, logs), batches, refits, *_space(fitted, model, logs))


def _judged(recipe: Any, model: Pair, logs: SearchLogs) -> JudgedQueries:
    wanted = judgements(logs)
    scores = recipe.scores(model, logs, logs.judged, logs.judged_id)
    found = torch.zeros_like(wanted).scatter_(1, top_k(scores, CUTOFF), True) & wanted
    clicked = logs.clicks[:, 1].bincount(minlength=len(logs.items)) > 0
    held = {
        "typed": typed_times(logs, logs.judged_id),
        "recall": recall_of_each(scores, wanted, CUTOFF),
        "lexical": recall_of_each(BM25().fit(logs.items)(logs.judged), wanted, CUTOFF),
        "rarest": rarest_word(logs),
        "relevant": wanted.sum(1),
        "covered": (wanted & clicked).sum(1),
        "found_covered": (found & clicked).sum(1),
        "found_uncovered": (found & ~clicked).sum(1),
    }
    if model.titles:
        ablated = dense(Pair(model.text, None, None), logs, logs.judged, logs.judged_id)
        held["ablated"] = recall_of_each(ablated, wanted, CUTOFF)
    judged = wanted.any(1)  # a query of which nothing was found relevant has no recall
    return JudgedQueries(**{name: column[judged].double().numpy() for name, column in held.items()})


@torch.no_grad()
def _space(fitted: Fitted, model: Pair, logs: SearchLogs) -> tuple[Part, ...]:
    """Vectors, and what the most frequent queries find by them alone."""
    frequent = torch.arange(min(QUERIES, len(logs.queries)))
    items = model.item(logs.items, torch.arange(len(logs.items)) + FIRST)
    queries = model.query(logs.queries[frequent], frequent + FIRST)
    clicks = clicks_of(logs.clicks, frequent)
    return *vector_parts(items, fitted.recorder), *search_parts(items, queries, clicks, _words(logs.items))


def _words(titles: Tensor) -> Tensor:
    """[I, V] how often each word stands in each title."""
    counts = torch.zeros(len(titles), int(titles.max()) + 1)
    return counts.scatter_add_(1, titles, torch.ones(titles.shape))[:, 1:]  # 0 is padding


def rarest_word(logs: SearchLogs) -> Tensor:
    """[J] clicks whose query has the judged query's rarest word."""
    size = 1 + int(max(logs.queries.max(), logs.judged.max()))
    words = logs.queries[logs.clicks[:, 0]]
    seen = words[words > 0].bincount(minlength=size).double()
    return seen[logs.judged].masked_fill(logs.judged == 0, torch.inf).amin(1)


def _batches(recipe: Any, logs: SearchLogs, seed: int) -> QueryBatches:
    rows = recipe.rows(logs, seed)
    distinct, collided = [], []
    for step in range(BATCHES):
        drawn = recipe.drawn(rows, seed, step)
        query, item = rows.query[drawn], rows.item[drawn]
        alone = torch.where(query >= 0, query, -1 - torch.arange(len(query)))  # each generated query is one of its own
        counts = alone.unique(return_counts=True)[1].double()
        distinct.append(float(counts.sum() ** 2 / counts.square().sum()))
        collided.append(0.0 if recipe.loss.mask == "query" else float(collisions(alone, item).mean()))
    return QueryBatches(np.array(distinct), np.array(collided), recipe.sampler.batch)


def _refits(recipe: Any, model: Pair, logs: SearchLogs, collided: float, seed: int) -> SearchRefits:
    """The model as it is stands in where there are no ids to leave out, or next to nothing to mask."""
    own = _recall(recipe, model, logs)
    without = replace(recipe, query_ids=None, item_ids=None if recipe.titles else recipe.item_ids)
    masked = replace(recipe, loss=replace(recipe.loss, mask="query"), mined=None)
    nothing = masked == recipe or (recipe.mined is None and collided < FEW)
    return SearchRefits(
        own if without == recipe else _refitted(without, logs, seed),
        own if nothing else _refitted(masked, logs, seed),
    )


def _refitted(recipe: Any, logs: SearchLogs, seed: int) -> np.ndarray:
    return _recall(recipe, recipe.fit(logs, seed).model, logs)


def _recall(recipe: Any, model: Pair, logs: SearchLogs) -> np.ndarray:
    wanted = judgements(logs)
    held = recall_of_each(recipe.scores(model, logs, logs.judged, logs.judged_id), wanted, CUTOFF)
    return held[wanted.any(1)].double().numpy()
