"""What Ray costs a build: the same shards by the same function, in a plain loop, by plain processes and as tasks.

python -m bench.ann_ray [--vectors outputs/ann/10m/vectors] [--out bench/ann_ray.json]

CPU is that of this process and all its descendants while the shards are encoded, with Ray up and its workers warm.
Wall of several at once is multiplied by their number, so that all mean one core; what cores that share caches and memory lose to
each other is in the processes' wall and not Ray's doing. Rounds take turns; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.kernels_cpu import machine
from recsys.cluster.start import ClusterSpec, connected
from recsys.cluster.tasks import run_tasks
from recsys.index.large import LargeBuild, LargeSpec
from recsys.index.source import Source, opened_source
from recsys.index.vectors_folder import Run, in_turn

ROUNDS, SHARDS = 3, 8
BARS = {"cpu": 1.05, "wall": 1.10}
TICK = os.sysconf("SC_CLK_TCK")


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--vectors", default="outputs/ann/10m/vectors")
    told.add_argument("--out", default="bench/ann_ray.json")
    given = told.parse_args()
    source = opened_source(given.vectors, "cosine")
    at_once = max(2, os.cpu_count() or 2)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=Path(given.vectors).parent))
        stack.enter_context(connected(ClusterSpec()))
        build = trained(source, Path(folder))
        arms: dict[str, Run] = {"loop": in_turn, "ray": partial(run_tasks, spec=ClusterSpec())}
        pool = stack.enter_context(ProcessPoolExecutor(at_once, get_context("spawn")))
        arms["processes"] = partial(in_processes, pool)
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
        for name in ("ray", "processes"):
            once(build, arms[name])  # imports
        for _ in range(ROUNDS):
            for name, run in arms.items():
                spent[name].append(once(build, run))
    cpu = {name: median(cpu for cpu, _ in held) for name, held in spent.items()}
    wall = {name: median(wall for _, wall in held) for name, held in spent.items()}
    for name in ("ray", "processes"):
        wall[name] *= min(at_once, SHARDS)
    ratios = {
        f"ray/{name}": {"cpu": cpu["ray"] / cpu[name], "wall": wall["ray"] / wall[name]}
        for name in ("loop", "processes")
    }
    figures = {"items": len(source), "shards": SHARDS, "machine": machine(), "cpu_s": cpu, "core_wall_s": wall}
    figures |= {"ratios": ratios, "bars": BARS, "rounds": spent, "load": os.getloadavg()}
    print(json.dumps(figures, indent=1))
    Path(given.out).write_text(json.dumps(figures, indent=1) + "\n")


def in_processes(pool: Executor, work: Callable[[Any], Any], pieces: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """As `in_turn`, by the processes of a pool."""
    begun = {pool.submit(work, piece): piece for piece in pieces}
    for done in as_completed(begun):
        yield begun[done], done.result()


def trained(source: Source, folder: Path) -> LargeBuild:
    """A build whose tree and codec are there, so that only shards are left."""
    spec = LargeSpec(metric="cosine", lists=1024, parts=source.dim, shard_items=-(-len(source) // SHARDS))
    build = LargeBuild(source, spec, np.zeros((0, source.dim), np.float32), folder / "work")
    build.encode(in_turn)
    return build


def once(build: LargeBuild, run: Run) -> tuple[float, float]:
    """CPU and wall seconds of all shards."""
    for shard in build.shards:
        shutil.rmtree(build.work / shard.name)
    (build.work / "shards.jsonl").unlink()
    cpu, wall = tree_cpu(), time.perf_counter()
    build.encode(run)
    return tree_cpu() - cpu, time.perf_counter() - wall


def tree_cpu() -> float:
    """CPU seconds of this process and everything below it; what has ended counts where it was waited for."""
    held = [stat for path in Path("/proc").glob("[0-9]*/stat") if (stat := fields(path))]
    children: dict[int, list[int]] = {}
    times: dict[int, float] = {}
    for told in held:
        children.setdefault(int(told["parent"]), []).append(int(told["pid"]))
        times[int(told["pid"])] = told["cpu"]
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        total += times.get(pid, 0.0)
        waiting += children.get(pid, [])
    return total


def fields(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text()
    except OSError:  # it ended meanwhile
        return None
    pid, rest = text.split(" ", 1)[0], text.rpartition(")")[2].split()
    return {"pid": pid, "parent": rest[1], "cpu": sum(map(int, rest[11:15])) / TICK}


if __name__ == "__main__":
    main()
