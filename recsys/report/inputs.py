"""What a report can show: plain JSON-able dictionaries, every part of them optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

SYSTEMS = {
    "model": "model, as served",
    "retrieval": "retrieval head alone",
    "popular": "popular",
    "own_frequency": "own past frequency",
    "item_item": "item-item cosine",
    "ease": "EASE",
}


class Estimate(TypedDict, total=False):
    """A mean over users with its interval; `users` had a value. None stands for what isn't known."""

    mean: float | None
    low: float | None
    high: float | None
    users: int


class Reliability(TypedDict):
    """Bins from the lowest to the highest probability, all of one length."""

    predicted: Sequence[float]
    observed: Sequence[float]
    weight: Sequence[float]


class TaskFacts(TypedDict, total=False):
    """One ranking task on held-out rows."""

    auc: Mapping[str, Estimate]  # by system: model, popular, own_frequency
    rows: int
    positives: int
    log_loss: float
    calibration_error: float
    reliability: Reliability


class Latency(TypedDict, total=False):
    """Milliseconds."""

    mean_ms: float
    p50_ms: float
    p99_ms: float


class Serving(TypedDict, total=False):
    """What a load test over HTTP saw; stages are told by the server, in the order of the request path.

    A stage "total" is the server's own sum of them; `total` is what the client saw.
    """

    requests: int
    errors: int
    degraded: int
    rate_per_s: float  # arrivals offered
    total: Latency
    stages: Mapping[str, Latency]


class Index(TypedDict, total=False):
    """The manifest of the vector index."""

    kind: str
    items: int
    dim: int
    recall_at_100: float | None  # against exact search, on held-out queries
    facts: Mapping[str, Any]  # anything else worth a line


class Data(TypedDict, total=False):
    """What the prepared dataset says of itself."""

    name: str
    counts: Mapping[str, int]
    quarantined: Mapping[str, int]  # by reason
    time_range: tuple[int, int]  # seconds since 1970, first and last event
    splits: Mapping[str, int]  # name -> first second
    leak_checks: Sequence[str]


class Recommended(TypedDict):
    """One line of an answer."""

    item_id: str
    text: str
    score: float | None
    scores: Mapping[str, float]
    bought_before: bool
    taken_after: NotRequired[bool]  # in the horizon after the request


class Sample(TypedDict):
    """A user's past beside the answer given to them."""

    user: str
    history: Sequence[str]  # texts, newest first
    items: Sequence[Recommended]
    source: str


class ReportInput(TypedDict, total=False):
    """Everything that a report may show. A section whose part is absent says that it wasn't measured."""

    title: str
    run: Mapping[str, str]  # facts of the run: id, command, machine, commit
    metrics: Mapping[str, Mapping[str, Estimate]]  # system -> "recall@20[slice]" -> estimate
    differences: Mapping[str, Estimate]  # "recall@20, model - popular" -> paired by user
    notes: Sequence[str]  # paragraphs beside the headline: bars missed, ceilings, warnings
    learning: Mapping[str, Mapping[str, Any]]  # recsys.tracking.log.read_metrics: kind -> name -> array
    tasks: Mapping[str, TaskFacts]
    serving: Serving
    index: Index
    data: Data
    recommendations: Sequence[Sample]
    seconds: Mapping[str, float]  # stage -> seconds
    versions: Mapping[str, str]
