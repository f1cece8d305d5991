"""The items nearest to a query are found by an engine; which of them may be found, and under which id, is said here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recsys.index.checks import checked_ids, checked_mask, checked_vectors
from recsys.index.engine import Engine
from recsys.index.engines import EngineName, built_engine, engine_name, loaded_engine
from recsys.index.exact import Hits
from recsys.index.layout import read_layout, write_layout
from recsys.index.spec import IndexSpec, Metric
from recsys.value import require

__all__ = ["IndexSpec", "VectorIndex", "checked_vectors"]

IDS_FILE = "ids.npy"


class VectorIndex:
    """A searchable set of vectors with the item id of each."""

    def __init__(self, engine: Engine, ids: np.ndarray, metric: Metric = "cosine", threads: int = 1) -> None:
        require(
            len(ids) == len(engine), f"{len(ids)} ids for {len(engine)} vectors; build the index again with jobs.index"
        )
        self.engine = engine
        self.ids = ids  # [n] int64
        self.metric: Metric = metric
        self.threads = threads

    @classmethod
    def build(
        cls, vectors: np.ndarray, ids: np.ndarray | None, spec: IndexSpec, queries: np.ndarray | None = None
    ) -> VectorIndex:
        """Index `vectors` [n, D] float32 under `ids` [n] (default 0..n-1).

        `queries` [Q, D] are used to choose the number of probes when the spec leaves it open. Raises ValueError for
        vectors that the spec's metric can't take, other dtypes and ids that are negative or given twice.
        """
        vectors = checked_vectors(vectors, "vectors", spec.metric)
        ids = checked_ids(np.arange(len(vectors)) if ids is None else ids, len(vectors))
        if queries is not None:
            queries = checked_vectors(queries, "queries", spec.metric)
        return cls(built_engine(vectors, spec, queries), ids, spec.metric, spec.threads)

    def save(self, folder: Path) -> None:
        """Write the engine's files, ids.npy and, last, layout.json into an existing folder."""
        self.engine.save(folder)
        np.save(folder / IDS_FILE, self.ids)
        write_layout(folder, self.manifest)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> VectorIndex:
        """Read what `save` wrote; the files' checksums are the artefact's business and must have been verified."""
        layout = read_layout(folder)
        engine = loaded_engine(layout["engine"], folder, threads)
        ids = np.load(folder / IDS_FILE, allow_pickle=False)
        return cls(engine, ids, layout["metric"], threads)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the index is made of, as plain values."""
        return {
            "engine": self.kind,
            "metric": self.metric,
            "dim": self.dim,
            "items": len(self),
            "lists": self.lists,
            "probes": self.probes,
        }

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        return self.engine.dim

    @property
    def kind(self) -> EngineName:
        return engine_name(self.engine)

    @property
    def lists(self) -> int:
        return self.engine.lists

    @property
    def probes(self) -> int:
        return self.engine.probes

    @property
    def products_a_query(self) -> float:
        """Inner products that one search takes: of the lists' centres, and of the items in the lists visited."""
        return float(len(self)) if self.lists == 1 else self.lists + len(self) * self.probes / self.lists

    def cells(self, vectors: np.ndarray) -> np.ndarray:
        """[n] int64 inverted list that each vector [n, D] belongs to; 0 of an index without lists."""
        return self.engine.cells(checked_vectors(vectors, "vectors", self.metric))

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Hits:
        """The k nearest allowed items of each query [B, D], best first.

        `allowed` is a mask over item ids, one for all queries [V] or one for each [B, V]; ids beyond it are not
        allowed. Exactly min(k, allowed items) are found for each query: when the visited lists hold fewer, all lists
        are scanned. Raises ValueError for queries of another width, dtype or norm, and for k below 1.
        """
        queries = checked_vectors(queries, "queries", self.metric)
        require(queries.shape[1] == self.dim, f"queries have {queries.shape[1]} dimensions, the index has {self.dim}")
        require(k >= 1, f"k must be at least 1, got {k}")
        if allowed is None:
            return self._search(queries, k, None)
        mask = self._places_allowed(checked_mask(allowed, len(queries)))
        if mask.ndim == 1:
            return self._search(queries, k, mask)
        found = [self._search(queries[row : row + 1], k, mask[row]) for row in range(len(queries))]
        width = max((hits.ids.shape[1] for hits in found), default=0)
        return Hits.stack([hits.widened(width) for hits in found], width)

    def _search(self, queries: np.ndarray, k: int, mask: np.ndarray | None) -> Hits:
        possible = len(self) if mask is None else int(np.count_nonzero(mask))
        k = min(k, possible)
        if k == 0:
            return Hits.empty(len(queries), 0)
        hits = self.engine.search(queries, k, allowed=mask)
        places, scores = hits.ids, hits.scores
        short = np.flatnonzero(places[:, -1] < 0)
        if len(short):
            all_lists = self.engine.search(queries[short], k, probes=self.lists, allowed=mask)
            scores[short], places[short] = all_lists.scores, all_lists.ids
        return Hits(ids=self.ids[places], scores=scores)

    def _places_allowed(self, allowed: np.ndarray) -> np.ndarray:
        width = allowed.shape[-1]
        if len(self) and self.ids.max() >= width:
            allowed = np.concatenate([allowed, np.zeros((*allowed.shape[:-1], 1), dtype=bool)], axis=-1)
        return allowed[..., np.minimum(self.ids, width)]
