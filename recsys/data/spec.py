"""What a prepared dataset says of itself: sizes, columns, tasks and split times."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, Literal

from recsys.value import require, value

PADDING, UNKNOWN, FIRST = 0, 1, 2  # reserved vocabulary indices; real values start at FIRST
DAY = 86_400


@value
class Task:
    """A task is a question about a (request, item) pair; `on` says for which rows an answer exists.

    candidates: sampled candidates of a request, was the item taken in the horizon. impressions: rows that were really
    shown. taken: rows that were taken (the label is a property of the event).
    """

    name: str
    kind: Literal["binary", "regression"] = "binary"
    on: Literal["candidates", "impressions", "taken"] = "candidates"

    def __post_init__(self) -> None:
        require(self.name.isidentifier(), f"task name {self.name!r} must be an identifier such as 'purchase'")


@value
class DatasetSpec:
    """All that a model needs to know of a dataset before it sees a batch."""

    name: str
    num_items: int  # length of items.parquet, padding and unknown included
    num_users: int
    item_categorical: dict[str, int]  # column -> cardinality, padding and unknown included
    item_numeric: tuple[str, ...]
    text_dim: int  # 0 when items have no text vectors
    user_categorical: dict[str, int]
    user_numeric: tuple[str, ...]
    context: dict[str, int]  # request context columns; "surface" is always the first
    num_surfaces: int
    num_positions: int
    features: tuple[str, ...]  # user x item features of a ranking row
    tasks: tuple[Task, ...]
    validation_start: int  # seconds since 1970
    test_start: int
    end: int  # one second after the last event
    horizon_days: float
    max_history: int
    lanes: int  # independent streams of the training log; at most one worker each
    feature_means: tuple[float, ...] = ()  # of the train rows, where a model's scales start; empty: 0 and 1
    feature_spreads: tuple[float, ...] = ()
    task_rates: tuple[float, ...] = ()  # weighted mean label of the train rows; empty: unknown

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, held: dict[str, Any] | str) -> DatasetSpec:
        raw = json.loads(held) if isinstance(held, str) else dict(held)
        return cls(**{**raw, "tasks": tuple(Task(**task) for task in raw["tasks"])})
