"""Vectors in the lists of their nearest centroids are found by visiting few lists, those nearest to the query."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from recsys.index.exact import Hits
from recsys.index.faiss_parts import faiss, found, metric_of, metric_type, read, selector, written
from recsys.index.list_scan import ListScan
from recsys.index.spec import IndexSpec

TRAIN_POINTS_PER_LIST = 64


class InvertedEngine:
    """Vectors in float32, in inverted lists around k-means centroids."""

    def __init__(self, index: Any, threads: int = 1) -> None:
        self._index = index
        self.threads = threads

    @classmethod
    def build(cls, vectors: np.ndarray, spec: IndexSpec, prior: np.ndarray | None = None) -> InvertedEngine:
        """Lists as the spec says; one probe, if it leaves them open, since how many it takes must be measured.

        A `prior` [n] becomes the last coordinate of the vectors that are kept, but has no say in the lists.
        """
        faiss.omp_set_num_threads(spec.threads)
        engine = cls(_inverted_lists(vectors, spec, prior), spec.threads)
        engine.probes = spec.probes or 1
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

    @probes.setter
    def probes(self, probes: int) -> None:
        self._index.nprobe = probes

    def search(
        self, queries: np.ndarray, k: int, *, probes: int | None = None, allowed: np.ndarray | None = None
    ) -> Hits:
        faiss.omp_set_num_threads(self.threads)  # the setting belongs to the calling thread
        chosen, _bits = selector(allowed)
        parameters = faiss.SearchParametersIVF(sel=chosen, nprobe=probes or self.probes)
        return found(self._index, queries, k, parameters)

    def scan(self, queries: np.ndarray, k: int, allowed: np.ndarray) -> Hits:
        """The k nearest of the places allowed [n] to each query, exactly, by one thread."""
        return self._lists(queries, k, allowed)

    @cached_property
    def _lists(self) -> ListScan:
        return ListScan.of(self._index, metric_of(self._index) == "l2")

    def rows(self, places: np.ndarray) -> np.ndarray:
        return self._index.reconstruct_batch(places) if len(places) else np.zeros((0, self.dim), np.float32)

    def cells(self, vectors: np.ndarray) -> np.ndarray:
        faiss.omp_set_num_threads(self.threads)
        return self._index.quantizer.search(vectors, 1)[1][:, 0]

    def save(self, folder: Path) -> None:
        written(self._index, folder)


def widened(vectors: np.ndarray, last: np.ndarray) -> np.ndarray:
    """[n, D + 1] vectors [n, D] with one more coordinate [n]."""
    return np.concatenate([vectors, last[:, None].astype(np.float32)], axis=1)


def _inverted_lists(vectors: np.ndarray, spec: IndexSpec, prior: np.ndarray | None) -> Any:
    """Inverted lists around k-means centroids: spherical for inner products, since then the direction decides.

    Where norms differ or a prior is held, a list stands in the search not by its centroid but by the mean of what it
    holds: measured, that is worth up to ten points of recall for inner products of uneven norms.
    """
    lists, dim = spec.lists_for(len(vectors)), vectors.shape[1]
    index = faiss.index_factory(dim, f"IVF{lists},Flat", metric_type(spec.metric))
    index.cp.spherical, index.cp.seed = spec.metric != "l2", spec.seed
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = TRAIN_POINTS_PER_LIST, 1
    index.train(vectors)
    if prior is not None or spec.metric == "inner_product":
        cells = index.quantizer.search(vectors, 1)[1][:, 0]
        centroids = index.quantizer.reconstruct_n(0, lists)
        index = _assigned(vectors if prior is None else widened(vectors, prior), cells, centroids, spec)
    else:
        index.add(vectors)
    index.set_direct_map_type(faiss.DirectMap.Array)
    return index


def _assigned(vectors: np.ndarray, cells: np.ndarray, centroids: np.ndarray, spec: IndexSpec) -> Any:
    """Lists that hold what `cells` [n] says, each found by the mean of its vectors [n, D].

    Under cosine the mean direction stays the centroid of norm 1, so that without a weight for the prior the lists
    are visited as if it weren't held.
    """
    count = np.bincount(cells, minlength=len(centroids))
    held = count > 0
    means = np.zeros((len(centroids), vectors.shape[1]), dtype=np.float64)
    for column in range(vectors.shape[1]):
        means[:, column] = np.bincount(cells, weights=vectors[:, column], minlength=len(centroids))
    means[held] /= count[held, None]
    if spec.metric == "cosine":
        means[:, : centroids.shape[1]] = centroids
    quantizer = faiss.IndexFlat(vectors.shape[1], metric_type(spec.metric))
    quantizer.add(means.astype(np.float32))
    index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], len(centroids), metric_type(spec.metric))
    vectors, places = np.ascontiguousarray(vectors), np.arange(len(vectors))  # their memory must outlive the call
    index.add_core(len(vectors), faiss.swig_ptr(vectors), faiss.swig_ptr(places), faiss.swig_ptr(cells))
    return index
