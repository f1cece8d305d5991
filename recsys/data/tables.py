"""Cleaned tables of any source, still with the user's own ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from recsys.data.spec import Task


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns are what. `labels` maps event columns to the tasks (on taken rows) that they label."""

    item_categorical: tuple[str, ...] = ()
    item_numeric: tuple[str, ...] = ()
    item_text: str | None = None
    user_categorical: tuple[str, ...] = ()
    user_numeric: tuple[str, ...] = ()
    context: tuple[str, ...] = ()  # event columns that a request knows of, besides surface
    affinity: tuple[str, ...] = ()  # item categorical columns whose counts per user become features
    labels: Mapping[str, str] = field(default_factory=dict)  # event column -> task name
    tasks: tuple[Task, ...] = (Task(name="engage"),)


@dataclass(frozen=True, slots=True)
class Splits:
    """Split times that a source fixes, seconds; impressions inside `leave_out` straddle a split and aren't used."""

    validation_start: int
    test_start: int
    leave_out: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Tables:
    """Events, and what else there is; all ids and categories are strings, times int64 seconds since 1970."""

    name: str
    events: pa.Table  # user item time, optional type value surface position, context and label columns
    items: pa.Table | None  # item + columns
    users: pa.Table | None  # user + columns
    impressions: pa.Table | None  # user item time surface position taken keep
    quarantine: pa.Table  # table row column value reason
    roles: Roles
    splits: Splits | None
    attribution_days: float
    sources: Mapping[str, str]  # file -> sha256


QUARANTINE = pa.schema(
    [
        ("table", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("value", pa.string()),
        ("reason", pa.string()),
    ]
)
