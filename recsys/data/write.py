"""Request logs as Parquet: one row a request, lists for what is jagged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.requests import Points, Rows, World

GROUPS_PER_LANE = 4
LEAST_GROUP, MOST_GROUP = 16, 1024
SCHEMA = pa.schema(
    [
        ("request", pa.int64()),
        ("user", pa.int32()),
        ("time", pa.int64()),
        ("context", pa.list_(pa.int32())),
        ("history", pa.list_(pa.int32())),
        ("history_age", pa.list_(pa.float32())),
        ("positives", pa.list_(pa.int32())),
        ("row_item", pa.list_(pa.int32())),
        ("row_surface", pa.list_(pa.int32())),
        ("row_position", pa.list_(pa.int32())),
        ("row_features", pa.list_(pa.float32())),
        ("row_labels", pa.list_(pa.float32())),
        ("row_weight", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True, slots=True)
class RequestLog:
    """A request log in memory; positives and rows are sorted by request."""

    points: Points
    context: np.ndarray  # [B, C]
    history: tuple[np.ndarray, np.ndarray, np.ndarray]  # values, ages, offsets
    positives: tuple[np.ndarray, np.ndarray]  # place of the request, item
    rows: Rows | None


def row_group_size(requests: int, lanes: int) -> int:
    """Requests of a row group, so that every lane gets a few groups to permute."""
    groups = lanes * GROUPS_PER_LANE
    return int(np.clip(-(-requests // groups), LEAST_GROUP, MOST_GROUP))


def write_log(log: RequestLog, world: World, folder: Path, name: str, *, lanes: int) -> int:
    """Write `<name>-00000.parquet` with row groups of equal size; returns their number."""
    folder.mkdir(parents=True, exist_ok=True)
    size = row_group_size(len(log.points), lanes)
    values, ages, offsets = log.history
    positive_offsets = np.searchsorted(log.positives[0], np.arange(len(log.points) + 1))
    row_offsets = np.zeros(len(log.points) + 1, np.int64)
    if log.rows is not None:
        row_offsets = np.searchsorted(log.rows.request, np.arange(len(log.points) + 1))
    groups = 0
    with pq.ParquetWriter(folder / f"{name}-00000.parquet", SCHEMA, compression="zstd", use_dictionary=False) as writer:
        for start in range(0, len(log.points), size):
            stop = min(start + size, len(log.points))
            columns = {
                "request": pa.array(np.arange(start, stop)),
                "user": pa.array(log.points.user[start:stop].astype(np.int32)),
                "time": pa.array(log.points.time[start:stop]),
                "context": _fixed(log.context[start:stop]),
                "history": _lists(values.astype(np.int32), offsets, start, stop),
                "history_age": _lists(ages, offsets, start, stop),
                "positives": _lists(log.positives[1].astype(np.int32), positive_offsets, start, stop),
            } | _row_columns(log, world, row_offsets, start, stop)
            writer.write_table(pa.table(columns, schema=SCHEMA), row_group_size=size)
            groups += 1
    return groups


def _row_columns(log: RequestLog, world: World, offsets: np.ndarray, start: int, stop: int) -> dict[str, pa.Array]:
    rows = log.rows
    if rows is None:
        names = ("row_item", "row_surface", "row_position", "row_features", "row_labels", "row_weight")
        return {
            name: _lists(np.zeros(0, np.float32), offsets, start, stop).cast(SCHEMA.field(name).type) for name in names
        }
    inside = slice(offsets[start], offsets[stop])
    request = rows.request[inside]
    features = world.store.compute(log.points.user[request], rows.item[inside], log.points.time[request])
    local = offsets[start : stop + 1] - offsets[start]
    place = (0, stop - start)
    return {
        "row_item": _lists(rows.item[inside].astype(np.int32), local, *place),
        "row_surface": _lists(rows.surface[inside].astype(np.int32), local, *place),
        "row_position": _lists(rows.position[inside].astype(np.int32), local, *place),
        "row_features": _lists(features.ravel(), local * features.shape[1], *place),
        "row_labels": _lists(rows.labels[inside].ravel(), local * rows.labels.shape[1], *place),
        "row_weight": _lists(rows.weight[inside].astype(np.float32), local, *place),
    }


def _lists(values: np.ndarray, offsets: np.ndarray, start: int, stop: int) -> pa.Array:
    first, last = offsets[start], offsets[stop]
    local = (offsets[start : stop + 1] - first).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(local), pa.array(values[first:last]))


def _fixed(values: np.ndarray) -> pa.Array:
    width = values.shape[1]
    offsets = np.arange(0, (len(values) + 1) * width, width, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.astype(np.int32).ravel()))
