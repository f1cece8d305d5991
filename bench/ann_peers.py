"""The index beside ScaNN, hnswlib and faiss's own refine: queries per CPU second at equal recall, and memory.

python -m bench.ann_peers [--folder outputs/ann] [--scale 1m] [--arms "this index" faiss] [--out bench/ann_peers.json]

Peers come from .data/peers (`make bench-ann` installs them there). One process, one thread, the same vectors and queries;
settings take turns within a round, and a setting's time is the least of its rounds. An arm's memory is by how much another
process grows that opens it and answers all queries at its fastest setting that reaches the target.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.ann import SCALES, made
from bench.ann_libraries import Library, Search, libraries
from bench.kernels_cpu import machine
from recsys.index.faiss_parts import faiss
from recsys.index.synthetic import KINDS
from recsys.index.vectors_folder import Asked, recall

PEERS = Path(".data/peers")
ROUNDS, TARGET = 3, 0.95
SMALL = 20_000  # rows of the index that is searched before memory is measured
LISTS = {"200k": (500,), "1m": (1000,), "10m": (4096, 8192), "100m": (16384,)}  # of peers


@dataclass(slots=True)
class Arm:
    """A library's index, what it keeps and took, and what was measured of it."""

    library: Library
    search: Search
    bytes: int
    build_us: float  # CPU, a vector
    times: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    recalls: dict[tuple[str, int], float] = field(default_factory=dict)

    @classmethod
    def of(cls, library: Library, rows: np.ndarray, folder: Path) -> Arm:
        spent = library.built(rows, folder)
        return cls(library, library.open(folder / library.path), library.bytes(folder), spent)


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--scale", default="1m", choices=SCALES)
    told.add_argument("--folder", default="outputs/ann")
    told.add_argument("--arms", nargs="*", default=[""], help="beginnings of names; default: all")
    told.add_argument("--out", default="bench/ann_peers.json")
    told.add_argument("--resident", help="only: by how many bytes this process grows at a setting of the one arm")
    given = told.parse_args()
    folder = Path(given.folder) / given.scale
    sys.path.append(str(PEERS.resolve()))
    faiss.omp_set_num_threads(1)
    chosen = [each for each in libraries(LISTS[given.scale]) if each.name.startswith(tuple(given.arms))]
    asked = {kind: Asked.load(folder / "vectors", kind, "test") for kind in KINDS} if given.resident else {}
    if given.resident:
        only = next(each for each in chosen if each.name == given.arms[0])
        print(grown(only, folder, asked, json.loads(given.resident)))
        return
    made(given.scale, folder)
    figures = compared(chosen, folder)
    for held in figures["at_target"]["best"].values():
        for name, row in held.items():
            row["resident"] = resident(given.scale, given.folder, name, row["setting"])
    print("\n".join(lines(figures)), flush=True)
    Path(given.out).write_text(json.dumps(figures, indent=1) + "\n")


def compared(chosen: list[Library], folder: Path) -> dict[str, Any]:
    rows = np.load(folder / "vectors" / "vectors.npy").astype(np.float32)
    arms = [Arm.of(library, rows, folder) for library in chosen]
    asked = {kind: Asked.load(folder / "vectors", kind, "test") for kind in KINDS}
    for _ in range(ROUNDS):
        for arm, (kind, held) in product(arms, asked.items()):
            timed(arm, kind, held)
    found = [row for arm in arms for row in table(arm)]
    held = {"items": len(rows), "machine": machine(), "versions": versions(), "arms": found}
    return {**held, "at_target": at_target(found)}


def timed(arm: Arm, kind: str, asked: Asked) -> None:
    for at, setting in enumerate(arm.library.settings):
        began = time.process_time()
        found = arm.search(asked.queries, setting)
        arm.times.setdefault((kind, at), []).append(time.process_time() - began)
        arm.recalls[kind, at] = recall(found.astype(np.int64), asked.truth)


def resident(scale: str, folder: str, name: str, setting: Any) -> int:
    command = [sys.executable, "-m", "bench.ann_peers", "--scale", scale, "--folder", folder, "--arms", name]
    done = subprocess.run([*command, "--resident", json.dumps(setting)], check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


def grown(library: Library, folder: Path, asked: dict[str, Asked], setting: Any) -> int:
    """Bytes resident after all searches over those before opening; code was loaded by searching a small index first."""
    with tempfile.TemporaryDirectory() as small:
        rows = np.load(folder / "vectors" / "vectors.npy", mmap_mode="r")[:SMALL].astype(np.float32)
        library.build(rows, Path(small) / library.path)
        search = library.open(Path(small) / library.path)
        for held in asked.values():
            search(held.queries, setting)
        before = rss()
        opened = library.open(folder / library.path)
        for held in asked.values():
            opened(held.queries, setting)
        return rss() - before


def rss() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])


def table(arm: Arm) -> Iterator[dict[str, Any]]:
    for (kind, at), times in arm.times.items():
        setting = arm.library.settings[at]
        told = {"arm": arm.library.name, "kind": kind}
        told |= {"setting": list(setting) if isinstance(setting, tuple) else setting}
        told |= {"recall": round(arm.recalls[kind, at], 4), "qps": round(500 / min(times), 1)}
        yield {**told, "bytes": arm.bytes, "build_us": arm.build_us}


def at_target(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each arm and kind the fastest setting that reaches the target, and ours against it."""
    best: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for row in rows:
        held = best[row["kind"]].get(row["arm"])
        if row["recall"] >= TARGET and (held is None or row["qps"] > held["qps"]):
            best[row["kind"]][row["arm"]] = row
    ratios = {
        kind: {name: round(found["this index"]["qps"] / row["qps"], 3) for name, row in found.items()}
        for kind, found in best.items()
        if "this index" in found
    }
    return {"best": best, "qps_ratio": ratios}


def versions() -> dict[str, str]:
    """Of what is installed."""
    known = {each.metadata["Name"] for each in importlib.metadata.distributions()}
    return {name: version(name) for name in ("faiss-cpu", "numba", "numpy", "scann", "hnswlib") if name in known}


def lines(figures: dict[str, Any]) -> Iterator[str]:
    yield "| kind | arm | setting | recall@100 | queries/CPU s | ours over it | bytes a vector | resident | build us |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for kind, found in figures["at_target"]["best"].items():
        for name, row in found.items():
            ratio = figures["at_target"]["qps_ratio"].get(kind, {}).get(name, "")
            size, held = (round(row[each] / figures["items"], 1) for each in ("bytes", "resident"))
            told = [kind, name, row["setting"], row["recall"], row["qps"], ratio, size, held, row["build_us"]]
            yield "| " + " | ".join(map(str, told)) + " |"


if __name__ == "__main__":
    main()
