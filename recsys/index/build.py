"""An index belongs to one checkpoint, and says how much it misses of what an exact search finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.data.spec import FIRST
from recsys.index.envelope import Golden, Queries, SealedIndex
from recsys.index.exact import exact_search
from recsys.index.item_vectors import ItemVectors
from recsys.index.vector_index import IndexSpec, VectorIndex, checked_vectors
from recsys.value import require

__all__ = ["Queries", "build_index", "index_fingerprint", "load_index", "measured_recall"]

KIND, FORMAT = "index", 2  # the format is part of the fingerprint: another one is built anew
RECALL = "recall@100_vs_exact"


def index_fingerprint(item_vectors: Artefact, spec: IndexSpec) -> str:
    return fingerprint_of(KIND, FORMAT, item_vectors.fingerprint, item_vectors.meta["checkpoint"], spec)


def build_index(item_vectors: Artefact, queries: Queries, spec: IndexSpec, target_uri: str | Path) -> Artefact:
    """Index the catalogue and commit it with its measured recall.

    Half of the queries choose the probes, the other half measure the recall in the manifest. Raises ValueError when
    queries and items come from different checkpoints.
    """
    held = ItemVectors.load(item_vectors)
    require(
        (queries.checkpoint, queries.model) == (held.checkpoint, held.model),
        f"{item_vectors.path} was made by checkpoint {held.checkpoint} (model {held.model}), the queries by "
        f"{queries.checkpoint} (model {queries.model}); "
        "embed the catalogue again with the checkpoint that is served",
    )
    real = held.items >= FIRST
    vectors, ids = checked_vectors(held.vectors[real], "item vectors"), held.items[real]
    sample = checked_vectors(queries.vectors, "queries")
    index = VectorIndex.build(vectors, ids, spec, sample[::2] if len(sample) else None)
    meta = {
        "checkpoint": held.checkpoint,
        "model": held.model,
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
        Golden.of(index, sample, vectors).save(folder)
    return opened(target_uri, KIND)


def load_index(artefact: Artefact, checkpoint: str, model: str, threads: int = 1) -> SealedIndex:
    """The index, if it belongs to the checkpoint and its item tower.

    Raises ValueError naming both fingerprints if it doesn't, ArtefactError when it answers its golden queries
    otherwise than when it was built.
    """
    for what, expected in (("checkpoint", checkpoint), ("model", model)):
        made_by = artefact.meta.get(what)
        require(
            made_by == expected,
            f"{artefact.path} indexes the items of {what} {made_by}, but {what} {expected} is loaded; "
            "run jobs.embed and jobs.index for it",
        )
    return SealedIndex.load(artefact, threads)


def measured_recall(index: VectorIndex, vectors: np.ndarray, ids: np.ndarray, queries: np.ndarray) -> float | None:
    """Share of the exact nearest 100 that the index finds; None when there is no query to measure with."""
    if not len(queries) or not len(vectors):
        return None
    k = min(100, len(vectors))
    return round(index.search(queries, k).recall(exact_search(vectors, ids, queries, k)), 6)
