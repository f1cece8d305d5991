"""The index beside ScaNN, hnswlib and faiss's own refine at a million vectors: queries per CPU second at equal recall.

python -m bench.ann_peers [--folder outputs/ann] [--scale 1m] [--out bench/ann_peers.json]

Peers come from .data/peers (`make bench-ann` installs them there). One process, one thread, the same vectors and queries;
settings take turns within a round, and a setting's time is the least of its rounds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.ann import SCALES, made
from bench.kernels_cpu import machine
from recsys.artefact import opened
from recsys.index.build import KIND
from recsys.index.compressed import CompressedEngine
from recsys.index.faiss_parts import faiss
from recsys.index.synthetic import KINDS
from recsys.index.tune import source_rows
from recsys.index.vectors_folder import Asked, recall

PEERS = Path(".data/peers")
K, ROUNDS, TARGET = 100, 3, 0.95
LEAVES = 1000
Search = Callable[[np.ndarray, Any], np.ndarray]


@dataclass(slots=True)
class Arm:
    """One library: how it searches, its settings, what it keeps, and what its build took."""

    name: str
    search: Search
    settings: list[Any]
    bytes: int
    build_us: float  # CPU, a vector
    times: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    recalls: dict[tuple[str, int], float] = field(default_factory=dict)


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--scale", default="1m", choices=SCALES)
    told.add_argument("--folder", default="outputs/ann")
    told.add_argument("--out", default="bench/ann_peers.json")
    given = told.parse_args()
    folder = Path(given.folder) / given.scale
    made(given.scale, folder)
    sys.path.append(str(PEERS.resolve()))
    faiss.omp_set_num_threads(1)
    rows = np.load(folder / "vectors" / "vectors.npy").astype(np.float32)
    arms = [make(rows, folder) for make in (ours, with_faiss, scann_soar, scann_plain, hnsw)]
    asked = {kind: Asked.load(folder / "vectors", kind, "test") for kind in KINDS}
    for _ in range(ROUNDS):
        for arm, (kind, held) in product(arms, asked.items()):
            timed(arm, kind, held)
    figures = {
        "items": len(rows),
        "machine": machine(),
        "versions": versions(),
        "arms": [row for arm in arms for row in table(arm)],
    }
    figures["at_target"] = at_target(figures["arms"])
    print("\n".join(lines(figures)), flush=True)
    Path(given.out).write_text(json.dumps(figures, indent=1) + "\n")


def timed(arm: Arm, kind: str, asked: Asked) -> None:
    for at, setting in enumerate(arm.settings):
        began = time.process_time()
        found = arm.search(asked.queries, setting)
        arm.times.setdefault((kind, at), []).append(time.process_time() - began)
        arm.recalls[kind, at] = recall(found.astype(np.int64), asked.truth)


def ours(rows: np.ndarray, folder: Path) -> Arm:
    artefact = opened(folder / "index", KIND, verify=False)
    engine = CompressedEngine.load(artefact.path)
    size = sum(told["bytes"] for told in artefact.manifest["files"].values())

    def search(queries: np.ndarray, setting: tuple[int, float]) -> np.ndarray:
        return source_rows(engine, engine.search(queries, K, probes=setting[0], refine=setting[1]).ids)

    ways = [(probes, refine) for probes in (128, 192, 256, 320, 384, 448, 512, 640) for refine in (1.5, 2.0, 3.0)]
    return Arm("this index", search, ways, size, sum(artefact.meta["us_a_vector"].values()))


def with_faiss(rows: np.ndarray, folder: Path) -> Arm:
    began = time.process_time()
    dim = rows.shape[1]
    index = faiss.index_factory(dim, f"IVF{LEAVES},PQ{dim}x4fsr,Refine(SQ8)", faiss.METRIC_INNER_PRODUCT)
    index.train(rows[:: max(1, len(rows) // (LEAVES * 128))])
    index.add(rows)
    spent = time.process_time() - began
    inner = faiss.extract_index_ivf(index)

    def search(queries: np.ndarray, setting: tuple[int, float]) -> np.ndarray:
        inner.nprobe, index.k_factor = setting
        return index.search(queries, K)[1]

    ways = [(probes, factor) for probes in (64, 96, 128, 160, 192, 256) for factor in (2.0, 4.0)]
    return Arm("faiss IndexRefine", search, ways, len(faiss.serialize_index(index)), per(spent, rows))


def scann_soar(rows: np.ndarray, folder: Path) -> Arm:
    return with_scann(rows, folder, "ScaNN with SOAR", 1.5)


def scann_plain(rows: np.ndarray, folder: Path) -> Arm:
    return with_scann(rows, folder, "ScaNN", None)


def with_scann(rows: np.ndarray, folder: Path, name: str, soar: float | None) -> Arm:
    scann = importlib.import_module("scann")
    reorder = importlib.import_module("scann.scann_ops.py.scann_builder").ReorderType.INT8
    began = time.process_time()
    told = scann.scann_ops_pybind.builder(rows, K, "dot_product").set_n_training_threads(1)
    told = told.tree(LEAVES, 64, training_sample_size=250_000, soar_lambda=soar)
    told = told.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(400, quantize=reorder)
    index = told.build()
    spent = time.process_time() - began
    index.set_num_threads(1)
    files = folder / f"peer_{'soar' if soar else 'plain'}"
    files.mkdir(exist_ok=True)
    index.serialize(str(files))

    def search(queries: np.ndarray, setting: tuple[int, int]) -> np.ndarray:
        return index.search_batched(queries, K, setting[1], setting[0])[0]

    leaves = (16, 24, 32, 48, 64, 96, 128, 160) if soar else (32, 64, 96, 128, 160, 192, 256)
    ways = list(product(leaves, (300, 400, 600, 1000)))
    return Arm(name, search, ways, sum(path.stat().st_size for path in files.iterdir()), per(spent, rows))


def hnsw(rows: np.ndarray, folder: Path) -> Arm:
    """Its build takes minutes: it is kept, with the time that it took."""
    hnswlib = importlib.import_module("hnswlib")
    index, kept = hnswlib.Index("ip", rows.shape[1]), folder / "peer_hnsw.bin"
    note = kept.with_suffix(".json")
    if not note.exists():
        began = time.process_time()
        index.init_index(len(rows), M=16, ef_construction=128, random_seed=0)
        index.add_items(rows, num_threads=1)
        index.save_index(str(kept))
        note.write_text(json.dumps(time.process_time() - began))
    else:
        index.load_index(str(kept))
    index.set_num_threads(1)

    def search(queries: np.ndarray, ef: int) -> np.ndarray:
        index.set_ef(ef)
        return index.knn_query(queries, K, num_threads=1)[0]

    return Arm(
        "hnswlib",
        search,
        [100, 200, 300, 400, 600, 800, 1000, 1400],
        kept.stat().st_size,
        per(json.loads(note.read_text()), rows),
    )


def per(seconds: float, rows: np.ndarray) -> float:
    return round(1e6 * seconds / len(rows), 2)


def table(arm: Arm) -> Iterator[dict[str, Any]]:
    for (kind, at), times in arm.times.items():
        setting = arm.settings[at]
        told = {"arm": arm.name, "kind": kind, "setting": list(setting) if isinstance(setting, tuple) else setting}
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
    path = {name: version(name) for name in ("faiss-cpu", "numba", "numpy")}
    return path | {name: importlib.import_module("importlib.metadata").version(name) for name in ("scann", "hnswlib")}


def lines(figures: dict[str, Any]) -> Iterator[str]:
    yield "| kind | arm | setting | recall@100 | queries/CPU s | ours over it | bytes a vector | build us |"
    yield "|---|---|---|---|---|---|---|---|"
    for kind, found in figures["at_target"]["best"].items():
        for name, row in found.items():
            ratio = figures["at_target"]["qps_ratio"].get(kind, {}).get(name, "")
            size = round(row["bytes"] / figures["items"], 1)
            held = [kind, name, row["setting"], row["recall"], row["qps"], ratio, size, row["build_us"]]
            yield "| " + " | ".join(map(str, held)) + " |"


if __name__ == "__main__":
    main()
