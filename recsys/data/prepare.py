"""From raw tables to the prepared dataset: vocabularies, splits, timelines, request logs, leak checks."""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.data.encode import Encoded, encode_tables
from recsys.data.features import FeatureStore
from recsys.data.leaks import check_leaks
from recsys.data.requests import (
    Impressions,
    Points,
    RequestSpec,
    World,
    cap,
    context_of,
    points_of,
    positives_of,
    rows_of,
    sampled,
    user_points,
)
from recsys.data.spec import DAY, FIRST, DatasetSpec
from recsys.data.split import SplitSpec, boundaries, moments
from recsys.data.statistics import with_statistics
from recsys.data.tables import Tables
from recsys.data.text import TextSpec, text_vectors
from recsys.data.write import RequestLog, write_log
from recsys.random import rng
from recsys.value import require, value

KIND, FORMAT = "dataset", 2  # the format is part of the fingerprint: another one is prepared anew
LOGS = ("train", "validation", "test", "validation_users", "test_users")
MOST_ALONE = 0.05  # share of taken impressions that may lack an event in their window
Progress = Callable[[str], None]


@value
class DataSpec:
    """What is prepared and how."""

    source: Any  # a reader value: called, it returns Tables
    split: SplitSpec = SplitSpec()
    requests: RequestSpec = RequestSpec()
    text: TextSpec = TextSpec()
    lanes: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        require(callable(self.source), f"data.spec.source must be a reader, got {self.source!r}")
        require(self.lanes > 0, f"data.spec.lanes must be positive, got {self.lanes}")
        require(
            self.split.kind == "global_time" or self.requests.every == "visit",
            f"with data.spec.split.kind={self.split.kind} a user's last visits are the requests: set "
            f"data.spec.requests.every=visit, not {self.requests.every}",
        )


def dataset_fingerprint(spec: DataSpec) -> str:
    """What the dataset will be called: the specification and the checksums of the source's files."""
    return fingerprint_of(KIND, FORMAT, spec, spec.source.sources())


def prepare(spec: DataSpec, target: str | Path, progress: Progress = lambda stage: None) -> Artefact:
    """Write the dataset artefact. Raises SchemaError, LeakError or ValueError; the target appears whole or not at all."""
    progress("reading the source")
    tables = spec.source()
    require(len(tables.events) >= 100, f"{tables.name} has {len(tables.events)} usable events; at least 100 are needed")
    meta: dict[str, Any] = {}
    with committing(target, KIND, fingerprint=dataset_fingerprint(spec), meta=meta) as folder:
        progress("encoding vocabularies")
        world, encoded = build_world(spec, tables)
        encoded.write(folder, world.boundaries)
        pq.write_table(tables.quarantine, folder / "quarantine.parquet")
        if world.spec.text_dim:
            progress("encoding item texts")
            np.save(folder / "text_vectors.npy", text_vectors(spec.text, encoded.item_texts))
        counts = encoded.counts(world.boundaries) | {"quarantined": _reasons(tables.quarantine)}
        counts |= _shown(tables, world)
        for name in LOGS:
            progress(f"writing requests: {name}")
            counts |= write_requests(spec, world, name, folder / "requests")
        progress("checking for leaks")
        checks = check_leaks(folder, world)
        described = with_statistics(world.spec, folder)
        meta |= {"spec": described.to_json(), "counts": counts, "sources": dict(tables.sources), "leak_checks": checks}
        meta |= {"time_range": [int(encoded.events.time.min()), int(encoded.events.time.max())]}
    return opened(target, KIND)


def build_world(spec: DataSpec, tables: Tables) -> tuple[World, Encoded]:
    """Encode the tables and put the timelines up."""
    times = tables.events["time"].to_numpy()
    fixed = (tables.splits.validation_start, tables.splits.test_start) if tables.splits else None
    starts = moments(spec.split, times, fixed)
    encoded = encode_tables(tables, starts[0])
    bounds = boundaries(spec.split, encoded.events.user, encoded.events.time, encoded.num_users, starts)
    affinity = {name: encoded.item_categorical[name] for name in tables.roles.affinity}
    store = FeatureStore(encoded.events, affinity, encoded.num_items)
    dataset = _dataset_spec(spec, tables, encoded, store, starts)
    names = [task.name for task in dataset.tasks]
    part = bounds.part(encoded.events.user, encoded.events.time)
    world = World(
        store=store,
        context=encoded.context,
        labels=encoded.labels,
        label_tasks=tuple(names.index(task) for task in tables.roles.labels.values()),
        impressions=_impressions(tables, encoded, store),
        boundaries=bounds,
        offered=np.unique(encoded.events.item[part == 0]),
        attribution_days=tables.attribution_days,
        spec=dataset,
    )
    return world, encoded


def _dataset_spec(
    spec: DataSpec, tables: Tables, encoded: Encoded, store: FeatureStore, starts: tuple[int, int]
) -> DatasetSpec:
    first, last = int(encoded.events.time.min()), int(encoded.events.time.max())
    horizon = spec.requests.horizon_days or min((last + 1 - starts[1]) / DAY, (starts[0] - first) / DAY / 4)
    return DatasetSpec(
        name=tables.name,
        num_items=encoded.num_items,
        num_users=encoded.num_users,
        item_categorical={name: encoded.cardinality[f"item.{name}"] for name in tables.roles.item_categorical},
        item_numeric=tables.roles.item_numeric,
        text_dim=spec.text.dim if tables.roles.item_text else 0,
        user_categorical={name: encoded.cardinality[f"user.{name}"] for name in tables.roles.user_categorical},
        user_numeric=tables.roles.user_numeric,
        context={name: encoded.cardinality[f"context.{name}"] for name in ("surface", *tables.roles.context)},
        num_surfaces=encoded.cardinality["context.surface"],
        num_positions=encoded.cardinality["context.position"],
        features=store.names,
        tasks=tables.roles.tasks,
        validation_start=starts[0],
        test_start=starts[1],
        end=last + 1,
        horizon_days=float(horizon),
        max_history=spec.requests.max_history,
        lanes=spec.lanes,
    )


def _impressions(tables: Tables, encoded: Encoded, store: FeatureStore) -> Impressions | None:
    if tables.impressions is None or not len(tables.impressions):
        return None
    table = tables.impressions
    time = table["time"].to_numpy()
    windows = tables.splits.leave_out if tables.splits else ()
    kept = np.flatnonzero(~np.any([(time >= a) & (time < b) for a, b in windows], axis=0)) if windows else slice(None)
    columns = [
        encoded.vocabularies["user"].encode(table["user"]).astype(np.int64),
        encoded.vocabularies["item"].encode(table["item"]).astype(np.int64),
        time,
        encoded.vocabularies["context.surface"].encode(table["surface"]),
        encoded.vocabularies["context.position"].encode(table["position"].cast(pa.string())),
        table["taken"].to_numpy().astype(np.float32),
        (1 / table["keep"].to_numpy()).astype(np.float32),
    ]
    columns = [column[kept] for column in columns]
    known = np.flatnonzero((columns[0] >= FIRST) & (columns[1] >= FIRST))
    return _borne_out(Impressions(*(column[known] for column in columns)), store, tables.attribution_days)


def _borne_out(shown: Impressions, store: FeatureStore, days: float) -> Impressions:
    """Impressions without those called taken whose event isn't in the window: where it lies before, history tells it.

    Raises ValueError when that are more than slips of a clock.
    """
    keys = shown.user * store.num_items + shown.item
    until = shown.time + int(np.ceil(days * DAY))
    seen = store.pairs.count_before(keys, until) > store.pairs.count_before(keys, shown.time)
    alone = (shown.taken > 0) & ~seen
    require(
        int(alone.sum()) <= MOST_ALONE * int((shown.taken > 0).sum()),
        f"{alone.sum()} of {(shown.taken > 0).sum()} taken impressions have no event within {days} days: time of an "
        "impression must be the start of its attribution window, attribution_days its length",
    )
    places = np.flatnonzero(~alone)
    return Impressions(*(getattr(shown, field)[places] for field in Impressions.__slots__))


def write_requests(spec: DataSpec, world: World, name: str, folder: Path) -> dict[str, int]:
    """Write one request log and count what is in it."""
    points = _points(spec, world, name)
    by_user = name.endswith("_users")
    at_visit = spec.requests.every == "visit" and not by_user
    values, ages, offsets = world.store.history(points.user, points.time, spec.requests.max_history)
    request, item = positives_of(world, points)
    if name == "train":
        kept = cap(request, spec.requests.max_positives, rng(spec.seed, "positives"))
        request, item = request[kept], item[kept]
    rows = None if by_user else rows_of(world, points, spec.requests, spec.seed, name)
    log = RequestLog(points, context_of(world, points, at_visit), (values, ages, offsets), (request, item), rows)
    groups = write_log(log, world, folder, name, lanes=spec.lanes)
    counts = {"requests": len(points), "positives": len(item), "rows": 0 if rows is None else len(rows.item)}
    return {f"{name}.{what}": count for what, count in (counts | {"row_groups": groups}).items()}


def _points(spec: DataSpec, world: World, name: str) -> Points:
    if name == "validation_users":
        return user_points(world, 1)
    if name == "test_users":
        return user_points(world, 2)
    part = LOGS.index(name)
    shown = world.impressions
    anchor = int(shown.time.min()) if shown is not None and len(shown.time) else int(world.store.users.times.min())
    points = points_of(world, spec.requests.every, part, anchor)
    limit = spec.requests.max_requests if part == 0 else spec.requests.max_eval_requests
    points = sampled(points, limit, spec.seed, name)
    if part == 0:
        require(
            len(points) >= spec.lanes,
            f"only {len(points)} train requests: fewer than data.spec.lanes={spec.lanes}; lower lanes, shorten "
            "data.spec.requests.horizon_days, or give more events",
        )
    return points


def _shown(tables: Tables, world: World) -> dict[str, int]:
    if tables.impressions is None or world.impressions is None:
        return {}
    used = len(world.impressions.time)
    return {"impressions": used, "impressions.left_out": len(tables.impressions) - used}


def _reasons(quarantine: pa.Table) -> dict[str, int]:
    counted = pc.value_counts(quarantine["reason"])
    return {row["values"].as_py(): row["counts"].as_py() for row in counted}
