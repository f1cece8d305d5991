"""A scan of every vector is exact, and below some tens of thousands of items also the fastest search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from recsys.index.exact import Hits
from recsys.index.faiss_parts import faiss, found, metric_type, read, selector, written
from recsys.index.spec import Metric


class FlatEngine:
    """Vectors in float32, all compared with every query."""

    lists, probes = 1, 1

    def __init__(self, index: Any, threads: int = 1) -> None:
        self._index = index
        self.threads = threads

    @classmethod
    def build(cls, vectors: np.ndarray, metric: Metric, threads: int = 1) -> FlatEngine:
        index = faiss.IndexFlat(vectors.shape[1], metric_type(metric))
        index.add(np.ascontiguousarray(vectors))
        return cls(index, threads)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> FlatEngine:
        return cls(read(folder, faiss.IndexFlat), threads)

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def dim(self) -> int:
        return self._index.d

    def search(
        self, queries: np.ndarray, k: int, *, probes: int | None = None, allowed: np.ndarray | None = None
    ) -> Hits:
        del probes
        faiss.omp_set_num_threads(self.threads)  # the setting belongs to the calling thread
        chosen, _bits = selector(allowed)
        parameters = None if chosen is None else faiss.SearchParameters(sel=chosen)
        return found(self._index, queries, k, parameters)

    def rows(self, places: np.ndarray) -> np.ndarray:
        return self._index.reconstruct_batch(places) if len(places) else np.zeros((0, self.dim), np.float32)

    def cells(self, vectors: np.ndarray) -> np.ndarray:
        return np.zeros(len(vectors), dtype=np.int64)

    def save(self, folder: Path) -> None:
        written(self._index, folder)
