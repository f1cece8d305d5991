"""Which lists to visit and what is in them are two questions: one machine can answer the first, others the second."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from recsys.index.engine import Engine
from recsys.index.exact import Hits
from recsys.index.faiss_parts import faiss, selector
from recsys.index.flat import FlatEngine
from recsys.index.inverted import InvertedEngine
from recsys.index.priced import padded

SLACK = 16  # hits beyond k that are looked at for equals of the last one


@runtime_checkable
class Preassigned(Protocol):
    """An engine that brings its own way of searching given lists, and of taking some of its places into another."""

    def probe_lists(self, queries: np.ndarray, probes: int) -> np.ndarray: ...

    def search_lists(self, queries: np.ndarray, k: int, lists: np.ndarray, allowed: np.ndarray | None) -> Hits: ...

    def subset(self, places: np.ndarray, folder: Path) -> Engine: ...


def probe_lists(engine: Engine, queries: np.ndarray, probes: int | None = None) -> np.ndarray:
    """The lists [B, P] int64 that each query [B, D] visits, the nearest first."""
    probes, queries = probes or engine.probes, padded(queries, engine.dim)
    if isinstance(engine, FlatEngine):
        return np.zeros((len(queries), 1), dtype=np.int64)
    if isinstance(engine, InvertedEngine):
        faiss.omp_set_num_threads(engine.threads)  # the setting belongs to the calling thread
        return engine._index.quantizer.search(queries, probes)[1]
    return _own(engine).probe_lists(queries, probes)


def search_lists(
    engine: Engine, queries: np.ndarray, k: int, lists: np.ndarray, allowed: np.ndarray | None = None
) -> Hits:
    """The k best allowed places of each query in its lists [B, P], best first, of equals the lower place.

    The order of equals is part of the answer: with it, merged answers of parts are the answer of the whole.
    """
    wide = _search_lists(engine, queries, min(k + SLACK, max(k, len(engine))), lists, allowed)
    while wide.ids.shape[1] < len(engine) and _cut_through_equals(wide, k):
        wide = _search_lists(engine, queries, min(2 * wide.ids.shape[1], len(engine)), lists, allowed)
    return ordered(wide, k)


def subset(engine: Engine, places: np.ndarray, folder: Path) -> Engine:
    """The same engine with these places [m] alone, in their order; its lists are those of the whole.

    An engine that searches files writes them into an existing folder.
    """
    if isinstance(engine, FlatEngine):
        part = faiss.IndexFlat(engine.dim, engine._index.metric_type)
        part.add(engine.rows(places))
        return FlatEngine(part, engine.threads)
    if isinstance(engine, InvertedEngine):
        return _inverted_subset(engine, places)
    return _own(engine).subset(places, folder)


def ordered(hits: Hits, k: int) -> Hits:
    """The best k, of equals those of lower id; empty places last."""
    ids = np.where(hits.ids < 0, np.iinfo(np.int64).max, hits.ids)
    order = np.lexsort((ids, -hits.scores), axis=1)[:, :k]
    return Hits(np.take_along_axis(hits.ids, order, 1), np.take_along_axis(hits.scores, order, 1))


def merged(parts: list[Hits], k: int) -> Hits:
    """The best k of what parts of a whole found, of equals those of lower id."""
    found = Hits(np.concatenate([part.ids for part in parts], 1), np.concatenate([part.scores for part in parts], 1))
    return ordered(found, k)


def _search_lists(engine: Engine, queries: np.ndarray, k: int, lists: np.ndarray, allowed: np.ndarray | None) -> Hits:
    queries = padded(queries, engine.dim)  # with a prior, which has no weight here
    if isinstance(engine, FlatEngine):
        return engine.search(queries, k, allowed=allowed)
    if not isinstance(engine, InvertedEngine):
        return _own(engine).search_lists(queries, k, lists, allowed)
    faiss.omp_set_num_threads(engine.threads)
    chosen, _bits = selector(allowed)
    parameters = faiss.SearchParametersIVF(sel=chosen, nprobe=lists.shape[1])
    unused = np.zeros(lists.shape, dtype=np.float32)  # distances to centroids: rows that are kept whole need none
    scores, places = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    held = [np.ascontiguousarray(queries), np.ascontiguousarray(lists), unused, scores, places]
    x, visited, distances, found, ids = map(faiss.swig_ptr, held)
    # the wrapper for Python takes no parameters, so no mask
    engine._index.search_preassigned_c(len(queries), x, k, visited, distances, found, ids, False, parameters)
    if engine._index.metric_type == faiss.METRIC_L2:
        scores = -scores
    scores[places < 0] = -np.inf
    return Hits(ids=places, scores=scores)


def _cut_through_equals(hits: Hits, k: int) -> bool:
    """Whether an item beyond the hits may equal the k-th one."""
    last = hits.scores[:, -1]
    return bool(((last == hits.scores[:, k - 1]) & np.isfinite(last)).any())


def _inverted_subset(engine: InvertedEngine, places: np.ndarray) -> InvertedEngine:
    whole, dim = engine._index, engine.dim
    part = faiss.IndexIVFFlat(faiss.clone_index(whole.quantizer), dim, whole.nlist, whole.metric_type)
    part.is_trained, part.nprobe = True, whole.nprobe
    rows, lists = np.ascontiguousarray(engine.rows(places)), list_of_place(engine)[places]
    ids = np.arange(len(places), dtype=np.int64)
    pointers = [faiss.swig_ptr(held) for held in (rows, ids, lists)]
    if len(places):
        part.add_core(len(places), *pointers)
    part.set_direct_map_type(faiss.DirectMap.Array)
    return InvertedEngine(part, engine.threads)


def list_of_place(engine: InvertedEngine) -> np.ndarray:
    """[n] int64: the list in which each place stands."""
    held, lists = engine._index.invlists, np.full(len(engine), -1, dtype=np.int64)
    for number in range(engine.lists):
        size = held.list_size(number)
        if size:
            lists[faiss.rev_swig_ptr(held.get_ids(number), size)] = number
    return lists


def _own(engine: Engine) -> Preassigned:
    if not isinstance(engine, Preassigned):
        raise ValueError(
            f"a {type(engine).__name__} can't search given lists: build the index with index.kind=flat or ivf"
        )
    return engine
