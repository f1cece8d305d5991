"""Vectors in the lists of their nearest centroids are found by visiting few lists, those nearest to the query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsys.index.exact import Hits, exact_search
from recsys.index.faiss_parts import faiss, found, metric_type, read, selector, written
from recsys.index.spec import IndexSpec

TRAIN_POINTS_PER_LIST = 64


class InvertedEngine:
    """Vectors in float32, in inverted lists around k-means centroids."""

    def __init__(self, index: Any, threads: int = 1) -> None:
        self._index = index
        self.threads = threads

    @classmethod
    def build(cls, vectors: np.ndarray, spec: IndexSpec, queries: np.ndarray | None) -> InvertedEngine:
        """Lists and probes as the spec says; what it leaves open is chosen by recall on the queries [Q, D]."""
        faiss.omp_set_num_threads(spec.threads)
        engine = cls(_inverted_lists(vectors, spec), spec.threads)
        sample = vectors[:: max(1, len(vectors) // 256)] if queries is None else queries
        engine._index.nprobe = spec.probes or _fewest_probes(engine, vectors, sample, spec.recall_target)
        return engine

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> InvertedEngine:
        index = read(folder, faiss.IndexIVFFlat)
        index.set_direct_map_type(faiss.DirectMap.Array)
        return cls(index, threads)

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def dim(self) -> int:
        return self._index.d

    @property
    def lists(self) -> int:
        return self._index.nlist

    @property
    def probes(self) -> int:
        return min(self._index.nprobe, self.lists)

    def search(
        self, queries: np.ndarray, k: int, *, probes: int | None = None, allowed: np.ndarray | None = None
    ) -> Hits:
        faiss.omp_set_num_threads(self.threads)  # the setting belongs to the calling thread
        chosen, _bits = selector(allowed)
        parameters = faiss.SearchParametersIVF(sel=chosen, nprobe=probes or self.probes)
        return found(self._index, queries, k, parameters)

    def rows(self, places: np.ndarray) -> np.ndarray:
        return self._index.reconstruct_batch(places) if len(places) else np.zeros((0, self.dim), np.float32)

    def cells(self, vectors: np.ndarray) -> np.ndarray:
        faiss.omp_set_num_threads(self.threads)
        return self._index.quantizer.search(vectors, 1)[1][:, 0]

    def save(self, folder: Path) -> None:
        written(self._index, folder)


def _inverted_lists(vectors: np.ndarray, spec: IndexSpec) -> Any:
    """Inverted lists around spherical k-means centroids, as inner products of unit vectors ask for."""
    lists, dim = spec.lists_for(len(vectors)), vectors.shape[1]
    index = faiss.index_factory(dim, f"IVF{lists},Flat", metric_type(spec.metric))
    index.cp.spherical, index.cp.seed = spec.metric != "l2", spec.seed
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = TRAIN_POINTS_PER_LIST, 1
    index.train(vectors)
    index.add(vectors)
    index.set_direct_map_type(faiss.DirectMap.Array)
    return index


def _fewest_probes(engine: InvertedEngine, vectors: np.ndarray, sample: np.ndarray, target: float) -> int:
    k = min(100, len(vectors))
    truth = exact_search(vectors, np.arange(len(vectors)), sample, k)
    probes = 1
    while probes < engine.lists:
        # without completion by a full scan: too few items in the visited lists count as missed
        if engine.search(sample, k, probes=probes).recall(truth) >= target:
            return probes
        probes = max(probes + 1, round(probes * 1.25))
    return engine.lists
