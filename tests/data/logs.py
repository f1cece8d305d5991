"""Request logs of random rows, written as the schema says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.spec import DatasetSpec
from recsys.data.write import SCHEMA

WIDTHS = ("context", "row_features", "row_labels")


def request_rows(rows: int, spec: DatasetSpec, seed: int = 0) -> pa.Table:
    """Random requests; each has between none and a few past items, positives and ranking rows."""
    random = np.random.default_rng(seed)
    sizes = {name: random.integers(0, 5, rows) for name in ("history", "positives", "row_item")}
    widths = {"row_features": len(spec.features), "row_labels": len(spec.tasks)}
    columns = {}
    for field in SCHEMA:
        if not pa.types.is_list(field.type):
            drawn = np.arange(rows) if field.name == "request" else random.integers(2, 1000, rows)
            columns[field.name] = pa.array(drawn, field.type)
            continue
        base = "row_item" if field.name.startswith("row_") else field.name.removesuffix("_age")
        lengths = sizes[base] * widths.get(field.name, 1) if base in sizes else np.full(rows, len(spec.context))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        values = random.integers(2, 1000, offsets[-1]).astype(field.type.value_type.to_pandas_dtype())
        if field.name == "row_labels":
            values[random.random(len(values)) < 0.3] = np.nan
        columns[field.name] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))
    return pa.table(columns, schema=SCHEMA)


def write_groups(table: pa.Table, folder: Path, groups: Sequence[int], log: str = "train", files: int = 1) -> None:
    """Row groups of the given numbers of rows, dealt to files one after the other."""
    (folder / "requests").mkdir(parents=True, exist_ok=True)
    starts = np.concatenate([[0], np.cumsum(groups)])
    assert starts[-1] == len(table)
    for number, places in enumerate(np.array_split(np.arange(len(groups)), files)):
        with pq.ParquetWriter(folder / "requests" / f"{log}-{number:05d}.parquet", SCHEMA) as writer:
            for place in places:
                writer.write_table(table.slice(starts[place], groups[place]), row_group_size=max(groups[place], 1))
