"""An index at scale: recall@100 of both kinds of queries against queries per CPU second, latency, bytes, and cost of the build.

python -m bench.ann 1m|10m|100m [--folder outputs/ann] [--out bench/ann_1m.json] [--memory-gb 11]

Vectors and index are made by the jobs, and a run that was cut short goes on. Every speed is CPU time of one thread. With
--memory-gb the searches get that much memory and no more, mapped pages among it, where control groups can be made (by root).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.kernels_cpu import machine
from bench.limited import limited
from recsys.artefact import Artefact, opened, peek
from recsys.index.build import KIND
from recsys.index.compressed import CompressedEngine
from recsys.index.exact import Hits
from recsys.index.source import VECTORS
from recsys.index.synthetic import KINDS
from recsys.index.tune import source_rows
from recsys.index.vectors_folder import Asked, recall

SCALES = {"200k": 200_000, "1m": 1_000_000, "10m": 10_000_000, "100m": 100_000_000}
TARGET = {"200k": 0.95, "1m": 0.95, "10m": 0.95, "100m": 0.92}  # of users' queries
DIM, K = 64, 100
TAIL_ROWS = 200
PROBES, REFINES = (32, 64, 128, 256, 512), (1.5, 2.0, 4.0)
SINGLE = 2.0  # candidates over k where latencies are measured
HEAD = ("kind", "probes", "refine", "tail", "recall@100", "queries/CPU s", "p50 ms", "p99 ms")


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("scale", choices=SCALES)
    told.add_argument("--folder", default="outputs/ann", help="where vectors and index are kept")
    told.add_argument("--out", default=None, help="default: bench/ann_<scale>.json")
    told.add_argument("--memory-gb", type=float, default=None, help="of 10^9 bytes; default: what the machine has")
    given = told.parse_args()
    folder, out = Path(given.folder) / given.scale, Path(given.out or f"bench/ann_{given.scale}.json")
    made(given.scale, folder)
    if given.memory_gb and within(given.memory_gb, given.scale, folder, out):
        return
    figures = measured(given.scale, folder)
    print("\n".join(lines(figures)), flush=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")


def within(memory_gb: float, scale: str, folder: Path, out: Path) -> bool:
    """Measure in another process, which gets no more memory; what it took at most is written beside its figures."""
    command = [sys.executable, "-m", "bench.ann", scale, "--folder", str(folder.parent), "--out", str(out)]
    try:
        ran = limited(command, int(memory_gb * 1e9), [folder])
    except PermissionError as error:
        print(f"memory is not limited: {error}", flush=True)
        return False
    if ran.code:
        sys.exit(f"the searches failed within {memory_gb} GB")
    figures = json.loads(out.read_text())
    figures["memory"] |= {"limit": memory_gb, "charged_peak": round(ran.peak / 1e9, 3)}
    print(f"at most {ran.peak / 1e9:.3f} GB of {memory_gb:g}", flush=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    return True


def made(scale: str, folder: Path) -> None:
    """Vectors and index, where they aren't there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    vectors, index = folder / "vectors", folder / "index"
    if not peek(vectors, VECTORS):
        job("vectors", f"n={SCALES[scale]}", f"dim={DIM}", f"out={vectors}", "cluster=local")
    if not peek(index, KIND):
        job("index", f"vectors={vectors}", f"out={index}", "tail=source", f"recall={TARGET[scale]}", "cluster=local")


def job(name: str, *overrides: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"jobs.{name}", *overrides], check=False)
    if done.returncode:
        sys.exit(f"jobs.{name} failed: run this again, what is finished isn't done twice")


def measured(scale: str, folder: Path) -> dict[str, Any]:
    artefact = opened(folder / "index", KIND, verify=False)
    half = folder / "vectors" / "vectors.npy"
    engine = CompressedEngine.load(artefact.path, tail=str(half.resolve()))  # one: files mapped twice count twice
    fresh_peak()
    asked = {kind: Asked.load(folder / "vectors", kind, "test") for kind in KINDS}
    rows = [row for kind in KINDS for row in of_kind(engine, asked[kind], kind)]
    size = sum(told["bytes"] for told in artefact.manifest["files"].values())
    held = {"scale": scale, "items": len(engine), "dim": engine.dim, "k": K, "queries_a_kind": 500}
    held |= {"machine": machine(), "versions": {name: version(name) for name in ("faiss-cpu", "numba", "numpy")}}
    held |= {"bytes": size, "bytes_a_vector": round(size / len(engine), 2), "memory": resident()}
    return {**held, "build": built(artefact), "search": rows}


def of_kind(engine: CompressedEngine, asked: Asked, kind: str) -> Iterator[dict[str, Any]]:
    for probes, refine, tail in product(PROBES, REFINES, (False, True)):
        if probes > engine.lists // 2:
            continue
        search = partial(engine.search, k=K, probes=probes, refine=refine, tail=TAIL_ROWS if tail else 0)
        search(asked.queries)  # pages are read in
        began = time.thread_time()
        hits = search(asked.queries)
        rate = len(asked.queries) / (time.thread_time() - began)
        row = {"kind": kind, "probes": probes, "refine": refine, "tail": tail}
        row |= {"recall": round(recall(source_rows(engine, hits.ids), asked.truth), 4), "qps": round(rate, 1)}
        if refine == SINGLE:
            spent = [alone(search, query[None]) for query in asked.queries]
            row |= {f"p{at}_ms": round(float(np.percentile(spent, at)), 3) for at in (50, 99)}
        yield row


def alone(search: Callable[[np.ndarray], Hits], query: np.ndarray) -> float:
    """CPU ms of one query."""
    began = time.thread_time()
    search(query)
    return 1e3 * (time.thread_time() - began)


def built(artefact: Artefact) -> dict[str, Any]:
    names = ("large", "lists", "probes", "us_a_vector", "cost", "wall_seconds", "recall@100_ind", "recall@100_ood")
    return {name: artefact.meta[name] for name in names}


def fresh_peak() -> None:
    """Forget this process's largest size so far, where the kernel can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def resident() -> dict[str, float]:
    """GB of this process, which builds nothing: at most since `fresh_peak`, and now its own and of mapped files."""
    lines = (Path("/proc/self/status").read_text()).splitlines()
    told = {
        line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssFile", "VmHWM"))
    }
    return {name: round(kilobytes / 1e6, 3) for name, kilobytes in told.items()}


def lines(figures: dict[str, Any]) -> Iterator[str]:
    stages = figures["build"]["us_a_vector"]
    yield f"{figures['items']} vectors of {figures['dim']}, {figures['build']['lists']} lists"
    yield f"{figures['bytes_a_vector']} bytes a vector on disk; in memory after the searches {figures['memory']} GB"
    yield f"build: {sum(stages.values()):.2f} CPU us a vector, {figures['build']['wall_seconds']} s: {stages}"
    yield "| " + " | ".join(HEAD) + " |"
    yield "|---" * len(HEAD) + "|"
    for row in figures["search"]:
        held = [row["kind"], row["probes"], row["refine"], "fp16" if row["tail"] else "", row["recall"], row["qps"]]
        yield "| " + " | ".join(map(str, [*held, row.get("p50_ms", ""), row.get("p99_ms", "")])) + " |"


if __name__ == "__main__":
    main()
