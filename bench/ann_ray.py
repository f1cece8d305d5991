"""What Ray costs a build: the same shards by the same function, in a plain loop and as tasks.

python -m bench.ann_ray [--vectors outputs/ann/10m/vectors] [--out bench/ann_ray.json]

CPU is that of this process and all its descendants while the shards are encoded, with Ray up and its workers warm.
Wall with Ray is multiplied by the tasks at once, so that both mean one core. Rounds take
turns; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from functools import partial
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
    with tempfile.TemporaryDirectory(dir=Path(given.vectors).parent) as folder, connected(ClusterSpec()):
        build = trained(source, Path(folder))
        arms: dict[str, Run] = {"loop": in_turn, "ray": partial(run_tasks, spec=ClusterSpec())}
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
        once(build, arms["ray"])  # imports
        for _ in range(ROUNDS):
            for name, run in arms.items():
                spent[name].append(once(build, run))
    at_once = max(2, os.cpu_count() or 2)
    cpu = {name: median(cpu for cpu, _ in held) for name, held in spent.items()}
    wall = {name: median(wall for _, wall in held) for name, held in spent.items()}
    wall["ray"] *= min(at_once, SHARDS)
    ratios = {"cpu": cpu["ray"] / cpu["loop"], "wall": wall["ray"] / wall["loop"]}
    figures = {"items": len(source), "shards": SHARDS, "machine": machine(), "cpu_s": cpu, "core_wall_s": wall}
    figures |= {"ray/loop": ratios, "bars": BARS, "rounds": spent, "load": os.getloadavg()}
    print(json.dumps(figures, indent=1))
    Path(given.out).write_text(json.dumps(figures, indent=1) + "\n")


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
