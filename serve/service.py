"""One process answers a request from JSON to JSON: admit, check, answer in time or refuse, count, log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts, Release
from recsys.funnel.policy import Policy
from recsys.funnel.request import Recommendation, RecommendRequest
from recsys.index.online_recall import OnlineRecall
from recsys.index.versions import Versions
from serve import errors
from serve.answer_log import AnswerLog
from serve.metrics import Metrics
from serve.recall import watched_funnel
from serve.schema import RecommendBody, answer_json
from serve.spec import ServeSpec
from serve.swap import IndexWatch
from serve.worker import Worker


class Service:
    """A funnel behind bounds: so many requests at once, so much time for each."""

    def __init__(self, funnel: Funnel, spec: ServeSpec, recall: OnlineRecall | None = None) -> None:
        self.funnel, self.spec, self.recall = funnel, spec, recall
        self.metrics = Metrics(funnel.versions)
        self.log = AnswerLog(spec.log_dir) if spec.log_dir else None
        self.worker = Worker(self._answer, threads=spec.threads, max_batch=spec.max_batch)
        self.watch: IndexWatch | None = None
        self.in_flight = 0

    async def recommend(self, raw: bytes, request_id: str) -> dict[str, Any]:
        """The answer to a body. Raises ServiceError with the status that the caller gets."""
        arrived = time.perf_counter()
        body = self._checked(raw)
        request = body.request(arrived, self.spec.deadline_ms)
        if self.in_flight >= self.spec.max_in_flight:
            raise errors.overloaded(self.in_flight)
        self.in_flight += 1
        self.metrics.in_flight.set(self.in_flight)
        try:
            answer, queued_ms = await self._in_time(request, arrived)
        finally:
            self.in_flight -= 1
            self.metrics.in_flight.set(self.in_flight)
        _check_versions(body, answer.versions)  # another index may have taken over meanwhile
        self._record(request_id, request, answer)
        spent = {"queue": queued_ms, **answer.timings_ms, "total": (time.perf_counter() - arrived) * 1000}
        self.metrics.latency.observe(spent["total"] / 1000)
        return {"request_id": request_id, **answer_json(answer, spent)}

    @property
    def alive(self) -> bool:
        """Whether every thread that the service needs still runs."""
        return self.worker.alive and (self.watch is None or self.watch.alive)

    def health(self) -> dict[str, Any]:
        data = self.funnel.dataset
        tasks = [task.name for task in data.tasks]
        followed = {} if self.watch is None else {"held": self.watch.held, "refused": self.watch.refused}
        return {
            "ready": self.alive,
            "versions": self.funnel.versions,
            "dataset": data.name,
            "items": len(self.funnel.directory.items),
            "users": len(self.funnel.directory.users),
            "tasks": tasks,
            "surfaces": list(self.funnel.directory.surfaces),
            **({"index_version": followed} if followed else {}),
        }

    def metrics_text(self) -> bytes:
        """What Prometheus reads."""
        if self.recall is not None:
            self.metrics.observe_recall(self.recall.figures())
        return self.metrics.text()

    def swap(self, funnel: Funnel, recall: OnlineRecall) -> None:
        """Answer with another funnel from the next batch on; those that run end with the one that they began with."""
        before, self.recall, self.funnel = self.recall, recall, funnel
        if before is not None:
            before.close()
        self.metrics.swaps.inc()
        self.metrics.served(funnel.versions)

    def close(self) -> None:
        if self.watch is not None:
            self.watch.close()
        self.worker.close()
        if self.recall is not None:
            self.recall.close()
        if self.log is not None:
            self.log.close()

    def _checked(self, raw: bytes) -> RecommendBody:
        try:
            body = RecommendBody.model_validate_json(raw)
        except ValidationError as error:
            raise errors.invalid(error) from None
        _check_versions(body, self.funnel.versions)
        try:
            self.funnel.intake.weights_of(body.weights or {})
        except ValueError as error:
            raise errors.unknown_weights(str(error)) from None
        return body

    async def _in_time(self, request: RecommendRequest, arrived: float) -> tuple[Recommendation, float]:
        waiting = asyncio.wrap_future(self.worker.submit(request))
        if request.deadline_ms is None:
            return await waiting
        left = arrived + request.deadline_ms / 1000 - time.perf_counter()
        try:
            return await asyncio.wait_for(waiting, left)
        except TimeoutError:
            raise errors.too_late(request.deadline_ms) from None

    def _answer(self, requests: Sequence[RecommendRequest]) -> list[Recommendation]:
        answers = self.funnel.recommend(requests)
        self.metrics.observe_batch(len(requests), answers[0].timings_ms)
        return answers

    def _record(self, request_id: str, request: RecommendRequest, answer: Recommendation) -> None:
        self.metrics.sources.labels(source=answer.source).inc()
        for reason in answer.degraded:
            self.metrics.degraded.labels(reason=reason).inc()
        if self.log is not None and not self.log.put(request_id, request, answer):
            self.metrics.dropped.inc()


def _check_versions(body: RecommendBody, loaded: Mapping[str, str]) -> None:
    for part, expected in body.expected.items():
        if expected != loaded[part]:
            raise errors.wrong_version(part, expected, loaded[part])


def load_service(spec: ServeSpec, run_dir: str) -> Service:
    """The service of a run folder, warmed up; where the spec names versions of the index, it follows them.

    Raises ArtefactError or ValueError when its parts don't fit together.
    """
    versions = Versions(spec.index_versions) if spec.index_versions else None
    name, index = versions.open() if versions else ("", None)
    parts = Parts.load(Release.of(run_dir, index))
    policy = Policy(parts.records.directory.items, parts.dataset.num_items, files=spec.blocked_files)
    funnel, recall = watched_funnel(parts, spec.funnel, policy, spec.recall)
    service = Service(funnel, spec, recall)
    if versions:
        service.watch = IndexWatch(service, parts, versions, name)
        service.watch.follow(spec.index_poll_s)
    return service
