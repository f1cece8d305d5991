"""What the rows of the train log are like on average: scales that a model starts from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.rows import Requests
from recsys.data.spec import DatasetSpec

ENOUGH = 200_000  # rows; the log is shuffled, so that its beginning is a sample


def with_statistics(spec: DatasetSpec, folder: Path) -> DatasetSpec:
    """The specification with mean and deviation of every feature and the weighted mean label of every task."""
    window = _beginning(folder / "requests", spec)
    features = window.lists["row_features"].values.reshape(-1, max(1, len(spec.features))).astype(np.float64)
    labels = window.lists["row_labels"].values.reshape(-1, len(spec.tasks)).astype(np.float64)
    weight = np.where(np.isnan(labels), 0.0, window.lists["row_weight"].values[:, None])
    totals = weight.sum(0)
    rates = (weight * np.nan_to_num(labels)).sum(0) / np.where(totals > 0, totals, 1)
    means, spreads = (features.mean(0), features.std(0)) if spec.features and len(features) else ((), np.zeros(0))
    return replace(
        spec,
        feature_means=tuple(map(float, means)),
        feature_spreads=tuple(float(held) if held > 1e-6 else 1.0 for held in spreads),
        task_rates=tuple(map(float, rates)),
    )


def _beginning(folder: Path, spec: DatasetSpec) -> Requests:
    held = pq.ParquetFile(sorted(folder.glob("train-*.parquet"))[0])
    groups, rows = [], 0
    for group in range(held.num_row_groups):
        groups.append(held.read_row_group(group))
        rows += len(groups[-1]["row_item"].combine_chunks().flatten())
        if rows >= ENOUGH:
            break
    return Requests.of(pa.concat_tables(groups), spec)
