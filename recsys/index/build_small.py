"""Vectors that fit into memory are indexed there: a scan, or lists of float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.fingerprint import array_sha256
from recsys.index.build import FORMAT, KIND, RECALL
from recsys.index.checks import checked_ids
from recsys.index.envelope import Golden
from recsys.index.running_top import RunningTop
from recsys.index.source import Source
from recsys.index.vector_index import IndexSpec, Traits, VectorIndex
from recsys.index.vectors_folder import recall

K = 100


def small_fingerprint(source: Source, spec: IndexSpec, traits: Traits) -> str:
    held = {name: array_sha256(column) for name, column in traits.columns().items()}
    return fingerprint_of(KIND, FORMAT, "small", source.fingerprint, spec, held)


def build_small(
    source: Source, spec: IndexSpec, queries: np.ndarray, origin: Mapping[str, str], out: Path, traits: Traits
) -> Artefact:
    """Commit a flat or inverted index; half of the queries [Q, D] choose the probes, the others measure the recall."""
    ids, vectors = source.read(0, len(source))
    index = VectorIndex.build(
        vectors, checked_ids(ids, len(ids)), spec, queries[::2] if len(queries) > 1 else None, traits
    )
    asked = queries[1::2] if len(queries) > 1 else queries
    found = None
    if len(asked):
        top = RunningTop(asked, min(K, len(ids)), spec.metric)
        top.add(vectors, 0)
        found = round(recall(index.search(asked, top.k).ids, ids[top.hits().ids]), 6)
    meta = {**origin, "dim": index.dim, "items": len(index), "kind": index.kind, "lists": index.lists}
    meta |= {"probes": index.probes, "queries": len(queries), RECALL: found}
    with committing(out, KIND, fingerprint=small_fingerprint(source, spec, traits), meta=meta) as folder:
        index.save(folder)
        Golden.of(index, queries, vectors).save(folder)
    return opened(out, KIND)
