"""An index belongs to one checkpoint, and says how much it misses of what an exact search finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.data.spec import FIRST
from recsys.index.exact import exact_search
from recsys.index.item_vectors import ItemVectors
from recsys.index.vector_index import IndexSpec, VectorIndex, checked_vectors
from recsys.value import require

KIND = "index"
RECALL = "recall@100_vs_exact"


@dataclass(frozen=True, slots=True)
class Queries:
    """Query vectors with the checkpoint that encoded them; only its own items can be searched with them."""

    vectors: np.ndarray  # [Q, D] float32, norm 1
    checkpoint: str


def index_fingerprint(item_vectors: Artefact, spec: IndexSpec) -> str:
    return fingerprint_of("index", item_vectors.fingerprint, item_vectors.meta["checkpoint"], spec)


def build_index(item_vectors: Artefact, queries: Queries, spec: IndexSpec, target_uri: str | Path) -> Artefact:
    """Index the catalogue and commit it with its measured recall.

    Half of the queries choose the probes, the other half measure the recall in the manifest. Raises ValueError when
    queries and items come from different checkpoints.
    """
    held = ItemVectors.load(item_vectors)
    require(
        queries.checkpoint == held.checkpoint,
        f"{item_vectors.path} was made by checkpoint {held.checkpoint}, the queries by {queries.checkpoint}; "
        "embed the catalogue again with the checkpoint that is served",
    )
    real = held.items >= FIRST
    vectors, ids = checked_vectors(held.vectors[real], "item vectors"), held.items[real]
    sample = checked_vectors(queries.vectors, "queries")
    index = VectorIndex.build(vectors, ids, spec, sample[::2] if len(sample) else None)
    meta = {
        "checkpoint": held.checkpoint,
        "dim": index.dim,
        "items": len(index),
        "kind": index.kind,
        "lists": index.lists,
        "probes": index.probes,
        "queries": len(sample),
        RECALL: measured_recall(index, vectors, ids, sample[1::2] if len(sample) > 1 else sample),
    }
    with committing(target_uri, KIND, fingerprint=index_fingerprint(item_vectors, spec), meta=meta) as folder:
        index.save(folder)
    return opened(target_uri, KIND)


def load_index(artefact: Artefact, checkpoint: str, threads: int = 1) -> VectorIndex:
    """The index, if it belongs to the checkpoint; raises ValueError naming both fingerprints if it doesn't."""
    made_by = artefact.meta["checkpoint"]
    require(
        made_by == checkpoint,
        f"{artefact.path} indexes the items of checkpoint {made_by}, but checkpoint {checkpoint} is loaded; "
        "run jobs.embed and jobs.index for it",
    )
    return VectorIndex.load(artefact.path, threads)


def measured_recall(index: VectorIndex, vectors: np.ndarray, ids: np.ndarray, queries: np.ndarray) -> float | None:
    """Share of the exact nearest 100 that the index finds; None when there is no query to measure with."""
    if not len(queries) or not len(vectors):
        return None
    k = min(100, len(vectors))
    return round(index.search(queries, k).recall(exact_search(vectors, ids, queries, k)), 6)
