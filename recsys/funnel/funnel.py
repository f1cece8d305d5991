"""One request path for evaluation and for serving: what is measured offline is what people get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from recsys.batch import Batch
from recsys.data.spec import FIRST
from recsys.funnel.intake import Intake
from recsys.funnel.ladder import NAMES, POPULAR, Ladder
from recsys.funnel.parts import Parts, Stopwatch
from recsys.funnel.policy import Policy
from recsys.funnel.rank import Lists, Ranker, fuse
from recsys.funnel.request import Answered, Asked, FunnelSpec, Recommendation, RecommendRequest
from recsys.funnel.rerank import mmr
from recsys.funnel.retrieve import Retriever, Watch, allowed_mask
from recsys.value import require


class Funnel:
    """Requests in, lists out: state, query, candidates, filter, features, rank, fuse, diversity, answer."""

    def __init__(
        self, parts: Parts, spec: FunnelSpec, policy: Policy | None = None, watch: Watch | None = None
    ) -> None:
        self.spec, self.versions, self.dataset = spec, dict(parts.versions), parts.dataset
        self.records, self.users, self.vectors = parts.records, parts.users, parts.vectors
        self.model = parts.model.eval()
        self.directory = parts.records.directory
        self.policy = policy or Policy(self.directory.items, parts.dataset.num_items)
        self.intake = Intake(self.directory, parts.dataset, spec)
        self.retriever = Retriever(parts.index, parts.records.popularity, spec, watch)
        self.ranker = Ranker(self.model, torch.from_numpy(parts.hidden), parts.dataset.tasks)
        self.ladder = Ladder(spec.reduced_share)

    def recommend(self, requests: Sequence[RecommendRequest]) -> list[Recommendation]:
        """Answer requests together. Raises ValueError for weights of unknown tasks, before any work is done."""
        answered = self.answer(self.intake(requests))
        return [self._recommendation(request, answered, row) for row, request in enumerate(requests)]

    def recommend_indices(
        self, user: np.ndarray, times: np.ndarray, k: int, hide_seen: bool = False, *, batch: int = 32
    ) -> np.ndarray:
        """Item indices [U, k] for user indices [U] at times [U], -1 where there are no more: `answer`, in batches."""
        parts = [self.answer(asked).ids for asked in self._batches(user, times, k, hide_seen, batch)]
        return np.concatenate([*parts, np.zeros((0, k), dtype=np.int64)])

    def retrieve_only(
        self, user: np.ndarray, times: np.ndarray, k: int, hide_seen: bool = False, *, batch: int = 32
    ) -> np.ndarray:
        """Item indices [U, k] that the index finds nearest to each query: the retrieval head without the rest."""
        found = [np.zeros((0, k), dtype=np.int64)]
        for asked in self._batches(user, times, k, hide_seen, batch):
            _, query = self.encode(self.records.batch(asked))
            seen = self.records.seen(asked) if hide_seen else []
            nearest = self.retriever.nearest(query, k, allowed_mask(asked, self.policy.blocked(), seen))
            found.append(np.pad(nearest, ((0, 0), (0, k - nearest.shape[1])), constant_values=-1))
        return np.concatenate(found)

    def query_vectors(self, user: np.ndarray, times: np.ndarray, *, batch: int = 256) -> np.ndarray:
        """[U, D] float32 of norm 1: what the index is searched with."""
        parts = [self.encode(self.records.batch(asked))[1] for asked in self._batches(user, times, 1, False, batch)]
        return np.concatenate([*parts, np.zeros((0, self.vectors.shape[1]), dtype=np.float32)])

    def warm_up(self, rounds: int = 8) -> None:
        """Answer a few users, so that caches are filled and the ladder knows costs. ValueError when scores are NaN."""
        for user in range(FIRST, min(FIRST + rounds, self.dataset.num_users)):
            asked = self.intake.of_indices(np.array([user]), np.array([self.intake.as_of]), 20, False)
            scores = self.answer(asked).scores
            require(not np.isnan(scores).any(), "the checkpoint gives scores that are not numbers; train again")

    def answer(self, asked: Asked) -> Answered:
        """Lists for a batch, as arrays; each request's deadline decides how much of the funnel it goes through."""
        watch = Stopwatch()
        width, tasks = int(asked.k.max(initial=0)), len(self.dataset.tasks)
        shape = (len(asked), width)
        answered = Answered(
            ids=np.full(shape, -1, dtype=np.int64),
            scores=np.full(shape, -np.inf),
            task_scores=np.full((*shape, tasks), np.nan, dtype=np.float32),
            rung=self.ladder.at_start(asked.due),
            known=asked.user >= FIRST,
            timings_ms=watch.laps,
        )
        rows = np.flatnonzero(answered.known & (answered.rung != POPULAR))
        if len(rows):
            lists, rung = self._ranked(asked.take(rows), watch)
            answered.rung[rows] = rung
            self._finish(asked, answered, rows, lists)
        for row in np.flatnonzero(~answered.personal):
            self._popular(asked, answered, int(row))
        watch.lap("answer")
        return answered

    @torch.inference_mode()
    def encode(self, batch: Batch) -> tuple[Tensor, np.ndarray]:
        """User encodings [B, H] and query vectors [B, D]."""
        history = self.ranker.hidden[batch.history.values]
        user = self.model.users(history, batch, self.users.take(batch.user))
        return user, self.model.query(user).float().numpy()

    @torch.inference_mode()
    def _ranked(self, asked: Asked, watch: Stopwatch) -> tuple[Lists, np.ndarray]:
        """Ranked candidates of known users, and the rung that each request ended on."""
        began = self.ladder.clock()
        batch, seen = self.records.batch(asked), self.records.seen(asked)
        watch.lap("state")
        user, query = self.encode(batch)
        watch.lap("query")
        allowed = allowed_mask(asked, self.policy.blocked(), seen)
        watch.lap("filter")
        pairs = self.retriever(asked, query, seen, allowed)
        watch.lap("candidates")

        ready = self.ladder.clock()
        rung = self.ladder.before_rank(asked.due, pairs.counts(len(asked)))
        pairs = self.retriever.reduced(asked, pairs, rung)
        features = self.records.store.compute(asked.user[pairs.row], pairs.item, asked.time[pairs.row])
        watch.lap("features")
        task_scores = self.ranker(user, pairs, features)
        watch.lap("rank")
        lists = fuse(asked, pairs, task_scores)
        watch.lap("fuse")
        lists = self._diverse(lists, int(asked.k.max()))
        watch.lap("diversity")
        self.ladder.observe(ready - began, self.ladder.clock() - ready, pairs.counts(len(asked)))
        return lists, rung

    def _diverse(self, lists: Lists, k: int) -> Lists:
        """The head of each list reordered by marginal relevance; what follows it stays where it was."""
        width = lists.item.shape[1]
        depth = min(max(self.spec.mmr_depth, k), width)
        if self.spec.mmr_lambda == 0 or depth < 2:
            return lists
        head = lists.item[:, :depth]
        order = mmr(lists.score[:, :depth], self.vectors[head], lists.valid[:, :depth], k, self.spec.mmr_lambda)
        rest = np.broadcast_to(np.arange(depth, width), (len(order), width - depth))
        return lists.reordered(np.concatenate([order, rest], axis=1))

    def _finish(self, asked: Asked, answered: Answered, rows: np.ndarray, lists: Lists) -> None:
        """Put the first k of each list into the answer, without what was blocked since the candidates were chosen."""
        fit = lists.valid & ~self.policy.blocked()[lists.item]
        lists = lists.reordered(np.argsort(~fit, axis=1, kind="stable"))
        width = min(answered.ids.shape[1], fit.shape[1])
        place = np.arange(width)
        shown = place < np.minimum(fit.sum(axis=1), asked.k[rows])[:, None]
        answered.ids[rows, :width] = np.where(shown, lists.item[:, :width], -1)
        answered.scores[rows, :width] = np.where(shown, lists.score[:, :width], -np.inf)
        answered.task_scores[rows, :width] = np.where(shown[..., None], lists.task_scores[:, :width], np.nan)

    def _popular(self, asked: Asked, answered: Answered, row: int) -> None:
        """The popular list of the surface, for those of whom nothing is known and those whose time is up."""
        one = asked.take(np.array([row]))
        seen = self.records.seen(one) if one.hide_seen[0] else []
        mask = allowed_mask(one, self.policy.blocked(), seen).reshape(-1)
        ranking = self.records.popularity.ranking(int(one.time[0]), int(one.surface[0]), self.spec.popular_window_days)
        items, counts = ranking.first(mask, int(one.k[0]))
        answered.ids[row], answered.scores[row] = -1, -np.inf
        answered.ids[row, : len(items)], answered.scores[row, : len(items)] = items, counts

    def _recommendation(self, request: RecommendRequest, answered: Answered, row: int) -> Recommendation:
        count = int(np.count_nonzero(answered.ids[row] >= 0))
        ids, tasks = answered.ids[row, :count].tolist(), answered.task_scores[row, :count]
        personal = bool(answered.personal[row])
        scores = {name: tuple(tasks[:, place].tolist()) for place, name in enumerate(self.intake.tasks)}
        # an unknown user's list is popular by nature, not for want of time
        rung = NAMES.get(int(answered.rung[row])) if answered.known[row] else None
        return Recommendation(
            item_ids=tuple(self.directory.item_ids[int(place)] for place in ids),
            scores=tuple(answered.scores[row, :count].tolist()),
            task_scores=scores if personal else {},
            texts=tuple(self.directory.texts[int(place)] for place in ids),
            source="personal" if personal else "popular",
            degraded=(*((rung,) if rung else ()), *self.intake.notes(request)),
            timings_ms=answered.timings_ms,
            versions=self.versions,
        )

    def _batches(self, user: np.ndarray, times: np.ndarray, k: int, hide_seen: bool, size: int) -> Iterator[Asked]:
        for start in range(0, len(user), size):
            part = slice(start, start + size)
            yield self.intake.of_indices(user[part], times[part], k, hide_seen)
