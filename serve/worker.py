"""Requests that wait at the same time are answered in one pass of the model, in a thread of their own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch

from recsys.funnel.request import Recommendation, RecommendRequest

Answer = Callable[[Sequence[RecommendRequest]], list[Recommendation]]


@dataclass(frozen=True, slots=True)
class Job:
    request: RecommendRequest
    done: Future[tuple[Recommendation, float]] = field(default_factory=Future)
    queued: float = field(default_factory=time.perf_counter)


class Worker:
    """Threads that take what is waiting, up to `max_batch` requests, and never wait for a batch to fill.

    The event loop stays free for other requests while the model works.
    """

    def __init__(self, answer: Answer, *, threads: int, max_batch: int) -> None:
        self._answer, self._max_batch = answer, max_batch
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()  # bounded by the service's max_in_flight
        self._threads = [threading.Thread(target=self._run, name=f"funnel-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, request: RecommendRequest) -> Future[tuple[Recommendation, float]]:
        """The answer and the milliseconds that the request waited; cancel it while it waits, and it isn't answered."""
        job = Job(request)
        self._waiting.put(job)
        return job.done

    @property
    def alive(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def close(self) -> None:
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(timeout=5)

    def _run(self) -> None:
        torch.set_num_threads(1)  # more would fight with the other threads for the same cores
        while (batch := self._take()) is not None:
            jobs = [job for job in batch if job.done.set_running_or_notify_cancel()]
            if not jobs:
                continue
            began = time.perf_counter()
            try:
                answers = self._answer([job.request for job in jobs])
            except BaseException as error:  # whatever it is belongs to those who wait for the answer
                for job in jobs:
                    job.done.set_exception(error)
                continue
            for job, answer in zip(jobs, answers, strict=True):
                job.done.set_result((answer, (began - job.queued) * 1000))

    def _take(self) -> list[Job] | None:
        first = self._waiting.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < self._max_batch:
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._waiting.put(None)
                break
            batch.append(job)
        return batch
