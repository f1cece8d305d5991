"""Shards of an index by item hash hold equal loads, and together they answer as the whole does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recsys.artefact import Artefact, ArtefactError, committing, fingerprint_of, opened
from recsys.data.hashing import stable_hash_of_ids
from recsys.index.envelope import TOLERANCE, Golden, SealedIndex
from recsys.index.exact import Hits
from recsys.index.ids import BLOCK, Ids
from recsys.index.preassigned import merged, ordered, probe_lists, search_lists, subset
from recsys.index.vector_index import VectorIndex
from recsys.value import require

KIND = "index_shards"
ROUTER = "router"  # the lists without what is in them


def shard_of(ids: np.ndarray, shards: int) -> np.ndarray:
    """[n] shard of each item, by its id alone: the same for every index and every machine."""
    return stable_hash_of_ids(ids, shards, 0)


def shards_fingerprint(index: Artefact, shards: int) -> str:
    return fingerprint_of(KIND, index.fingerprint, shards)


def split_index(index: Artefact, shards: int, target_uri: str | Path) -> Artefact:
    """Write an index as `shards` parts by item hash, a router without items, and the golden queries."""
    require(shards >= 1, f"shards must be at least 1, got {shards}")
    sealed = SealedIndex.load(index)
    whole = sealed.index
    changes = sum(int(whole.manifest.get(name, 0)) for name in ("recent", "dead"))
    require(changes == 0, f"{index.path} has {changes} changes that aren't laid out: compact it before it is split")
    stored = whole.changes.stored
    number = _numbers(stored.ids, shards)
    names = ("checkpoint", "model", "dim", "items")
    meta = {name: index.meta[name] for name in names} | {"shards": shards, "index": index.fingerprint}
    with committing(target_uri, KIND, fingerprint=shards_fingerprint(index, shards), meta=meta) as folder:
        for shard in tqdm(range(-1, shards), unit="shard", desc="splitting"):
            at = folder / (ROUTER if shard < 0 else _name(shard))
            at.mkdir()
            places = np.flatnonzero(number == shard)
            part, traits = subset(whole.engine, places, at), stored.traits.take(places)
            VectorIndex(part, stored.ids.at(places), whole.metric, traits).save(at)
        _golden(sealed, [VectorIndex.load(folder / _name(shard)) for shard in range(shards)]).save(folder)
    return opened(target_uri, KIND)


def _numbers(ids: Ids, shards: int) -> np.ndarray:
    """[n] shard of each place, a byte for up to 256 shards."""
    found = np.empty(ids.count, np.min_scalar_type(shards))
    with tqdm(total=ids.count, unit=" id", unit_scale=True, desc="hash") as bar:
        for start in range(0, ids.count, BLOCK):
            part = shard_of(ids.at(np.arange(start, min(start + BLOCK, ids.count))), shards)
            found[start : start + len(part)] = part
            bar.update(len(part))
    return found


def _golden(sealed: SealedIndex, parts: list[VectorIndex]) -> Golden:
    """The golden queries with what the parts answer together.

    That is the whole's answer where engines rank all of what they visit. A compressed one ranks the best few by its
    codes: so do its parts, each for itself, and they find what the whole finds, or better. Raises ArtefactError else.
    """
    golden = sealed.golden
    if not golden.ids.size:
        return golden
    lists = probe_lists(sealed.index.engine, golden.queries)
    found = merged(
        [search_items(part, golden.queries, golden.ids.shape[1], lists) for part in parts], golden.ids.shape[1]
    )
    worse = (found.scores < golden.scores - TOLERANCE).any(1)
    if worse.any():
        raise ArtefactError(f"golden query {int(np.argmax(worse))} is answered worse by the shards than by the index")
    return replace(golden, ids=found.ids, scores=found.scores)


def load_shard(artefact: Artefact, shard: int, threads: int = 1) -> VectorIndex:
    """One shard. Raises ValueError for a number that the artefact doesn't have."""
    count = artefact.meta["shards"]
    require(0 <= shard < count, f"{artefact.path} has shards 0 to {count - 1}, not {shard}")
    return VectorIndex.load(artefact.path / _name(shard), threads)


def load_router(artefact: Artefact, threads: int = 1) -> tuple[VectorIndex, Golden]:
    """The lists without items, which choose what a query visits, and the queries that the shards must answer."""
    return VectorIndex.load(artefact.path / ROUTER, threads), Golden.load(artefact.path)


def search_items(
    index: VectorIndex, queries: np.ndarray, k: int, lists: np.ndarray, allowed: np.ndarray | None = None
) -> Hits:
    """The k best allowed items of each query in its lists [B, P], [B, k]; of equals those of lower id.

    `allowed` [V] is a mask over item ids; ids beyond it aren't allowed.
    """
    mask = None
    if allowed is not None:
        mask = index.changes.visible(allowed)
    if not len(index):
        return Hits.empty(len(queries), k)
    found = search_lists(index.engine, queries, k, lists, mask)
    return ordered(Hits(index.changes.at(found.ids), found.scores), k).widened(k)


def search_whole(index: VectorIndex, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Hits:
    """What shards and a router answer together, by one process: the visited lists, or all where they hold too few."""
    found = search_items(index, queries, k, probe_lists(index.engine, queries), allowed)
    short = np.flatnonzero(found.ids[:, -1] < 0)
    if len(short):
        every = probe_lists(index.engine, queries[short], index.lists)
        found = replaced(found, short, search_items(index, queries[short], k, every, allowed))
    return found


def replaced(hits: Hits, rows: np.ndarray, by: Hits) -> Hits:
    """The hits with some rows replaced."""
    ids, scores = hits.ids.copy(), hits.scores.copy()
    ids[rows], scores[rows] = by.ids, by.scores
    return Hits(ids, scores)


def _name(shard: int) -> str:
    return f"shard-{shard:05d}"
