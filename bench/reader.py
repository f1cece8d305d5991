"""From Parquet to shuffled batches against merely decoding the same Parquet: rows a second, one thread.

python -m bench.reader [--dataset outputs/demo/dataset] [--rows 20000] [--batch-size 256] [--out reader.json]

CPU time, interleaved. Before anything is timed, every row is seen once in both arms.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from recsys.artefact import opened
from recsys.data.plan import Plan
from recsys.data.reader import BatchReader
from recsys.data.spec import DatasetSpec, Task
from recsys.data.write import SCHEMA
from recsys.evaluate.timing import interleave
from recsys.random import rng

GOAL = 0.5
FEATURES, TASKS, CONTEXT, LANES = 18, 5, 2, 24


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--dataset", default=None, help="prepared dataset; default: request rows made up for the purpose")
    told.add_argument("--rows", type=int, default=20_000, help="of the made-up log")
    told.add_argument("--batch-size", type=int, default=256)
    told.add_argument("--rounds", type=int, default=7)
    told.add_argument("--out", default=None, help="where the figures go as JSON; default: only to the screen")
    given = told.parse_args()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if given.dataset:
            held = opened(given.dataset, "dataset", verify=False)
            dataset, spec = held.path, DatasetSpec.from_json(held.meta["spec"])
        else:
            dataset, spec = Path(folder), made_up(Path(folder), given.rows)
        figures = measure(dataset, spec, given.batch_size, given.rounds)
    text = json.dumps(figures, indent=1)
    print(text)
    if given.out:
        Path(given.out).write_text(text)
    if not figures["quiet"]:
        sys.exit("the machine is too noisy: the same arm timed twice differs by more than a tenth; run again")


def measure(dataset: Path, spec: DatasetSpec, batch_size: int, rounds: int) -> dict[str, Any]:
    plan = Plan.of(dataset, "train", lanes=spec.lanes, batch_size=batch_size, seed=0, shuffle=True)
    reader = BatchReader(dataset, "train", spec, plan)
    paths = sorted((dataset / "requests").glob("train-*.parquet"))

    def scan() -> int:
        files = [pq.ParquetFile(path, memory_map=True) for path in paths]
        return sum(len(file.read_row_group(group)) for file in files for group in range(file.num_row_groups))

    def batches() -> int:
        return sum(len(batch) for batch in reader.epoch(0))

    seen = torch.cat([batch.request for batch in reader.epoch(0)]).sort().values.numpy()
    if scan() != len(seen) or not np.array_equal(seen, np.sort(pq.read_table(paths, columns=["request"])["request"])):
        raise RuntimeError("the arms don't see the same rows: no speed is worth reporting")
    timings = interleave({"scan": scan, "batches": batches}, rounds)
    return {
        "rows": plan.rows,
        "bytes": sum(path.stat().st_size for path in paths),
        "batch_size": batch_size,
        "rows_per_second": {arm: plan.rows / timings.median(arm) for arm in ("scan", "batches")},
        "share_of_scan": timings.ratio("scan", "batches"),
        "goal": GOAL,
        "quiet": timings.quiet(),
        "timings": timings.to_json(),
    }


def made_up(folder: Path, rows: int) -> DatasetSpec:
    """A train log like the journey's: about fifty past items and fifty ranking rows a request."""
    generator = rng(0, "bench", "reader")
    requests = folder / "requests"
    requests.mkdir()
    size = max(1, rows // (LANES * 4))
    with pq.ParquetWriter(requests / "train-00000.parquet", SCHEMA, compression="zstd", use_dictionary=False) as writer:
        for start in range(0, rows, size):
            writer.write_table(_group(generator, start, min(size, rows - start)))
    tasks = tuple(Task(name=f"task_{n}") for n in range(TASKS))
    return DatasetSpec(
        name="made_up",
        num_items=30_000,
        num_users=2_000,
        item_categorical={},
        item_numeric=(),
        text_dim=0,
        user_categorical={},
        user_numeric=(),
        context={f"context_{n}": 4 for n in range(CONTEXT)},
        num_surfaces=4,
        num_positions=4,
        features=tuple(f"feature_{n}" for n in range(FEATURES)),
        tasks=tasks,
        validation_start=1,
        test_start=2,
        end=3,
        horizon_days=7.0,
        max_history=64,
        lanes=LANES,
    )


def _group(generator: np.random.Generator, start: int, rows: int) -> pa.Table:
    history, positives, ranked = (generator.integers(low, high, rows) for low, high in ((30, 65), (1, 60), (30, 60)))

    def items(lengths: np.ndarray) -> pa.Array:
        return _lists(lengths, (generator.zipf(1.3, lengths.sum()) % 30_000).astype(np.int32))

    def floats(lengths: np.ndarray) -> pa.Array:
        return _lists(lengths, generator.normal(size=lengths.sum()).round(1).astype(np.float32))

    def few(lengths: np.ndarray) -> pa.Array:
        return _lists(lengths, generator.integers(0, 4, lengths.sum()).astype(np.int32))

    columns = {
        "request": pa.array(np.arange(start, start + rows)),
        "user": pa.array(generator.integers(2, 2_000, rows).astype(np.int32)),
        "time": pa.array(generator.integers(0, 10**9, rows)),
        "context": few(np.full(rows, CONTEXT)),
        "history": items(history),
        "history_age": floats(history),
        "positives": items(positives),
        "row_item": items(ranked),
        "row_surface": few(ranked),
        "row_position": few(ranked),
        "row_features": floats(ranked * FEATURES),
        "row_labels": floats(ranked * TASKS),
        "row_weight": floats(ranked),
    }
    return pa.table(columns, schema=SCHEMA)


def _lists(lengths: np.ndarray, values: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


if __name__ == "__main__":
    main()
