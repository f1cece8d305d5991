"""This index and its peers behind one face: built into files, opened from them, searched at settings that a bench chooses."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bench.ann import DIM
from recsys.artefact import opened
from recsys.index.build import KIND
from recsys.index.compressed import Choices, CompressedEngine
from recsys.index.faiss_parts import faiss
from recsys.index.large import LargeBuild, LargeSpec
from recsys.index.source import MatrixSource
from recsys.index.tune import source_rows
from recsys.index.vectors_folder import in_turn

K = 100
PROBES = (24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640)
Search = Callable[[np.ndarray, Any], np.ndarray]  # queries [Q, D] and a setting to source rows [Q, K]


@dataclass(frozen=True, slots=True)
class Library:
    """How an index is built into a path, and searched when it is opened there."""

    name: str
    build: Callable[[np.ndarray, Path], None]
    open: Callable[[Path], Search]
    settings: list[Any]
    path: str  # below the folder of the vectors

    def built(self, rows: np.ndarray, folder: Path) -> float:
        """CPU microseconds a vector that the build took; it's kept, with the time."""
        note = folder / f"{self.path}.json"
        if not note.exists():
            began = time.process_time()
            self.build(rows, folder / self.path)
            note.write_text(json.dumps(1e6 * (time.process_time() - began) / len(rows)))
        return round(json.loads(note.read_text()), 2)

    def bytes(self, folder: Path) -> int:
        path = folder / self.path
        return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


@dataclass(frozen=True, slots=True)
class Ours(Library):
    """Made by jobs.index, whose manifest says what the build took."""

    def built(self, rows: np.ndarray, folder: Path) -> float:
        return round(sum(opened(folder / self.path, KIND, verify=False).meta["us_a_vector"].values()), 2)


def libraries(lists: tuple[int, ...]) -> list[Library]:
    """All arms, faiss's with each of these numbers of lists, ScaNN's with the first."""
    ways = [*product(PROBES, (1.5, 2.0, 3.0))]
    ours = Ours("this index", _small, _open_ours, ways, "index")
    return [ours, *(with_faiss(each) for each in lists), scann(1.5, lists[0]), scann(None, lists[0]), hnsw()]


def _small(rows: np.ndarray, path: Path) -> None:
    """Some rows, in few lists."""
    np.save(path.with_suffix(".npy"), rows)
    spec = LargeSpec(metric="cosine", lists=64, parts=rows.shape[1], tail="none", shard_items=len(rows))
    build = LargeBuild(MatrixSource(path.with_suffix(".npy"), "cosine"), spec, rows[:0], path.with_suffix(".work"))
    build.encode(in_turn)
    path.mkdir()
    build.join(path, in_turn)
    Choices(metric="cosine", probes=1).save(path)


def _open_ours(path: Path) -> Search:
    engine = CompressedEngine.load(path)

    def search(queries: np.ndarray, setting: tuple[int, float]) -> np.ndarray:
        return source_rows(engine, engine.search(queries, K, probes=setting[0], refine=setting[1], tail=0).ids)

    return search


def with_faiss(lists: int) -> Library:
    def build(rows: np.ndarray, path: Path) -> None:
        dim = rows.shape[1]
        index = faiss.index_factory(dim, f"IVF{lists},PQ{dim}x4fsr,Refine(SQ8)", faiss.METRIC_INNER_PRODUCT)
        index.train(rows[:: max(1, len(rows) // (lists * 128))])
        index.add(rows)
        faiss.write_index(index, str(path))

    def open_(path: Path) -> Search:
        index = faiss.read_index(str(path))
        inner = faiss.extract_index_ivf(index)

        def search(queries: np.ndarray, setting: tuple[int, float]) -> np.ndarray:
            inner.nprobe, index.k_factor = setting
            return index.search(queries, K)[1]

        return search

    ways = [*product(PROBES[:12], (2.0, 4.0))]
    return Library(f"faiss IndexRefine, {lists} lists", build, open_, ways, f"peer_faiss_{lists}.bin")


def scann(soar: float | None, leaves: int) -> Library:
    def build(rows: np.ndarray, path: Path) -> None:
        reorder = importlib.import_module("scann.scann_ops.py.scann_builder").ReorderType.INT8
        told = _scann().builder(rows, K, "dot_product").set_n_training_threads(1)
        told = told.tree(leaves, 64, training_sample_size=250_000, soar_lambda=soar)
        told = told.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(400, quantize=reorder)
        path.mkdir(exist_ok=True)
        told.build().serialize(str(path), relative_path=True)

    def open_(path: Path) -> Search:
        index = _scann().load_searcher(str(path))
        index.set_num_threads(1)

        def search(queries: np.ndarray, setting: tuple[int, int]) -> np.ndarray:
            return index.search_batched(queries, K, setting[1], setting[0])[0]

        return search

    searched = (16, 24, 32, 48, 64, 96, 128, 160) if soar else (32, 64, 96, 128, 160, 192, 256)
    name = "ScaNN with SOAR" if soar else "ScaNN"
    ways = [*product(searched, (300, 400, 600, 1000))]
    return Library(name, build, open_, ways, f"peer_{'soar' if soar else 'plain'}")


def _scann() -> Any:
    return importlib.import_module("scann").scann_ops_pybind


def hnsw() -> Library:
    def build(rows: np.ndarray, path: Path) -> None:
        index = importlib.import_module("hnswlib").Index("ip", rows.shape[1])
        index.init_index(len(rows), M=16, ef_construction=128, random_seed=0)
        index.add_items(rows, num_threads=1)
        index.save_index(str(path))

    def open_(path: Path) -> Search:
        index = importlib.import_module("hnswlib").Index("ip", DIM)
        index.load_index(str(path))
        index.set_num_threads(1)

        def search(queries: np.ndarray, ef: int) -> np.ndarray:
            index.set_ef(ef)
            return index.knn_query(queries, K, num_threads=1)[0]

        return search

    return Library("hnswlib", build, open_, [100, 200, 300, 400, 600, 800, 1000, 1400], "peer_hnsw.bin")
