"""A shard of vectors in order of list: codes to choose candidates by, bytes to rank them by, ids, and the size of each list."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from recsys.index.codec import Codec
from recsys.index.exact import Hits
from recsys.index.running_top import RunningTop
from recsys.index.shards import Shard, written_shard
from recsys.index.source import Source
from recsys.index.tree import BLOCK, Tree

CODES, ROWS, IDS, PLACES, TAIL = "codes.npy", "rows.npy", "ids.npy", "places.npy", "tail.npy"
SIZES, TRUTH = "sizes.npy", "truth.npz"


@dataclass(frozen=True, slots=True)
class Encoding:
    """What is the same for all shards: where vectors come from, the lists, the codes, and queries asked in passing."""

    source: Source
    tree: Tree
    codec: Codec
    queries: np.ndarray  # [Q, D] float32, of which the exact nearest rows are found
    k: int
    folder: Path
    tail: bool = False  # keep half floats, too

    def __call__(self, shard: Shard) -> dict[str, Any]:
        """Write a shard's files and return its line for the log."""
        return written_shard(self.folder, shard, lambda staging: self._write(shard, staging))

    def _write(self, shard: Shard, staging: Path) -> dict[str, Any]:
        clock = Clock()
        count, dim = len(shard), self.source.dim
        own, ids = np.empty(count, np.int32), np.empty(count, np.int64)
        codes, rows = np.empty((count, self.codec.code_size), np.uint8), np.empty((count, dim), np.uint8)
        tail = np.empty((count if self.tail else 0, dim), np.float16)
        centres = self.tree.centres
        top = RunningTop(self.queries, self.k, self.source.metric)
        for start in range(0, count, BLOCK):
            part = slice(start, min(start + BLOCK, count))
            ids[part], vectors = self.source.read(shard.start + part.start, shard.start + part.stop)
            clock.lap("read")
            own[part] = self.tree.assign(vectors)
            clock.lap("assign")
            codes[part], rows[part] = self.codec.encode(vectors, centres, own[part])
            if self.tail:
                tail[part] = vectors
            clock.lap("encode")
            top.add(vectors, shard.start + part.start)
            clock.lap("truth")
        order, sizes = by_list(own, len(self.tree))
        for name, held in ((CODES, codes), (ROWS, rows), (IDS, ids), *([(TAIL, tail)] if self.tail else [])):
            np.save(staging / name, held[order])
        np.save(staging / PLACES, (shard.start + order).astype(np.int64))
        np.save(staging / SIZES, sizes)
        hits = top.hits()
        np.savez(staging / TRUTH, ids=hits.ids, scores=hits.scores)
        clock.lap("sort")
        return {"cpu_seconds": clock.seconds, "peak_rss": peak_rss()}


class Clock:
    """CPU seconds of this thread by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.thread_time()

    def lap(self, stage: str) -> None:
        now = time.thread_time()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def peak_rss() -> int:
    """Bytes of this process at its largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def truth_of(folder: Path, shards: list[Shard], k: int) -> Hits:
    """The exact nearest source rows of the queries, over all shards."""
    parts = []
    for shard in shards:
        with np.load(folder / shard.name / TRUTH, allow_pickle=False) as held:
            parts.append(Hits(held["ids"], held["scores"]))
    return RunningTop.merged(parts, k)


@njit(cache=True, nogil=True)
def by_list(own, lists):  # type: ignore[no-untyped-def]
    """Rows in order of list, ascending within each, and the number of each list's rows."""
    sizes = np.zeros(lists, np.int64)
    for row in range(len(own)):
        sizes[own[row]] += 1
    at = np.cumsum(sizes) - sizes
    order = np.empty(len(own), np.int64)
    for row in range(len(own)):
        order[at[own[row]]] = row
        at[own[row]] += 1
    return order, sizes
