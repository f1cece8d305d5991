"""A job tells of itself once; the metrics file and W&B both hear it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from recsys.artefact import join_uri
from recsys.tracking.log import MetricsLog, next_attempt
from recsys.tracking.wandb import Identity, TrackingSpec, WandbSink

METRICS = "metrics.jsonl"


class Sink(Protocol):
    """Where a run is told of besides the metrics file."""

    def log(self, step: int, kind: str, numbers: Mapping[str, float]) -> None: ...
    def summary(self, numbers: Mapping[str, Any]) -> None: ...
    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None: ...
    def image(self, name: str, path: str | Path) -> None: ...
    def reference(self, uri: str, fingerprint: str, kind: str) -> None: ...
    def finish(self, failed: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of one job; every call is recorded in the metrics file first."""

    identity: Identity
    metrics: MetricsLog
    sinks: tuple[Sink, ...] = field(default=())

    def log(self, step: int, numbers: Mapping[str, float], kind: str = "train") -> None:
        """A point of the curves of this kind."""
        plain = {name: float(held) for name, held in numbers.items()}
        self.metrics.log(step, kind, **plain)
        for sink in self.sinks:
            sink.log(step, kind, plain)

    def summary(self, numbers: Mapping[str, float | None]) -> None:
        """What the job came to: the columns by which runs are compared. None stands for what wasn't measured."""
        held = {name: float(number) for name, number in numbers.items() if number is not None}
        self.metrics.log(0, f"{self.identity.job}.summary", **held)
        for sink in self.sinks:
            sink.summary(held)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.metrics.note("table", name=name, columns=list(columns), rows=[list(row) for row in rows])
        for sink in self.sinks:
            sink.table(name, columns, rows)

    def image(self, name: str, path: str | Path) -> None:
        """A picture, which the sinks copy: the file may go when this returns."""
        self.metrics.note("image", name=name)
        for sink in self.sinks:
            sink.image(name, path)

    def reference(self, uri: str | Path, fingerprint: str, kind: str) -> None:
        """An artefact that was read or written: where it lies and what it is, not its bytes."""
        self.metrics.note("reference", uri=str(uri), fingerprint=fingerprint, artefact=kind)
        for sink in self.sinks:
            sink.reference(str(uri), fingerprint, kind)


@contextmanager
def start_run(
    spec: TrackingSpec, *, job: str, run_id: str, config: Mapping[str, Any], dir: str | Path, attempt: int | None = None
) -> Iterator[Run]:
    """Begin an attempt at a job of a run and end it whatever happens; only one worker of a group may call this.

    `dir` is the run's folder, local or a URI: its metrics.jsonl is appended to. Without `attempt` the next number is
    read from there, so a retried job takes a new identity and stays in its run's group.
    """
    path = join_uri(dir, METRICS)
    identity = Identity(run_id, job, attempt or next_attempt(path, run_id, job))
    began = time.perf_counter()
    with MetricsLog(path, run_id, identity.attempt, job=job) as metrics:
        metrics.note("start", config=dict(config))
        sinks = () if spec.effective_mode() == "disabled" else (WandbSink(spec, identity, config, dir),)
        failed = True
        try:
            yield Run(identity, metrics, sinks)
            failed = False
        finally:
            metrics.note("end", failed=failed, seconds=round(time.perf_counter() - began, 3))
            for sink in sinks:
                sink.finish(failed)
