"""A scale test is a folder: many vectors, queries of two kinds to tune and to measure with, and the exact answers to them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.index.encoding import TRUTH, Clock, truth_of
from recsys.index.exact import Hits
from recsys.index.running_top import RunningTop
from recsys.index.shards import Shard, ShardLog, cut, written_shard
from recsys.index.source import VECTORS, VECTORS_FILE
from recsys.index.synthetic import CHUNK, KINDS, Kind, SyntheticVectors, World
from recsys.storage import sync
from recsys.value import require

Split = Literal["dev", "test"]
SPLITS: tuple[Split, Split] = ("dev", "test")
K = 100
SHARD_CHUNKS = 25
FORMAT = 1
SPARE = 1 << 30  # bytes of disk that stay free
# (work, items) -> (item, result or exception) as they finish
Run = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[tuple[Any, Any]]]


def in_turn(work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    for item in items:
        yield item, work(item)


def finished(pairs: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """The same pairs; the first failure is raised."""
    for item, result in pairs:
        if isinstance(result, Exception):
            raise result
        yield item, result


@dataclass(frozen=True, slots=True)
class Asked:
    """Queries [Q, D] with the source rows of their exact nearest 100 [Q, 100], where these are known."""

    queries: np.ndarray
    truth: np.ndarray

    @classmethod
    def unanswered(cls, queries: np.ndarray) -> Asked:
        return cls(queries, np.zeros((0, 0), np.int64))

    @property
    def answered(self) -> bool:
        return len(self.truth) == len(self.queries)

    def every(self, first: int, step: int) -> Asked:
        """Each `step`-th query from `first` on."""
        return Asked(self.queries[first::step], self.truth[first::step])

    @classmethod
    def load(cls, folder: Path, kind: Kind, split: Split) -> Asked:
        queries, truth = (folder / f"{name}_{kind}_{split}.npy" for name in ("queries", "truth"))
        return cls(np.load(queries, allow_pickle=False), np.load(truth, allow_pickle=False))

    def save(self, folder: Path, kind: str, split: str) -> None:
        np.save(folder / f"queries_{kind}_{split}.npy", self.queries)
        np.save(folder / f"truth_{kind}_{split}.npy", self.truth)


@dataclass(frozen=True, slots=True)
class Generating:
    """Vectors of one shard go to their place in the file; the nearest of all queries are found in passing."""

    spec: SyntheticVectors
    queries: np.ndarray
    work: Path

    def __call__(self, shard: Shard) -> dict[str, Any]:
        return written_shard(self.work / "shards", shard, lambda staging: self._write(shard, staging))

    def _write(self, shard: Shard, staging: Path) -> dict[str, Any]:
        clock, world = Clock(), World(self.spec)
        top = RunningTop(self.queries, K, "cosine")
        held = np.lib.format.open_memmap(self.work / VECTORS_FILE, mode="r+")
        for number in range(shard.start // CHUNK, -(-shard.stop // CHUNK)):
            rows = world.chunk(number)
            held[number * CHUNK : number * CHUNK + len(rows)] = rows
            clock.lap("generate")
            top.add(rows.astype(np.float32), number * CHUNK)
            clock.lap("truth")
        held.flush()
        sync(self.work / VECTORS_FILE)
        hits = top.hits()
        np.savez(staging / TRUTH, ids=hits.ids, scores=hits.scores)
        return {"cpu_seconds": clock.seconds}


def generated(spec: SyntheticVectors, counts: dict[Split, int], out: Path, run: Run = in_turn) -> Artefact:
    """The folder of a scale test, made or resumed. Raises ValueError when it exists already or the disk is too small."""
    fingerprint = fingerprint_of(VECTORS, FORMAT, spec, counts)
    require(not (out / "manifest.json").exists(), f"{out} holds vectors already: remove it or give another out=")
    work = out.with_name(out.name + ".building")
    room_for(out, spec.n * spec.dim * 2, "vectors")
    log = ShardLog(work / "shards", fingerprint)
    world = World(spec)
    asked = {(kind, split): world.queries(kind, split, counts[split]) for kind in KINDS for split in SPLITS}
    queries = np.concatenate(list(asked.values()))
    if not (work / VECTORS_FILE).is_file():
        np.lib.format.open_memmap(work / VECTORS_FILE, mode="w+", dtype=np.float16, shape=(spec.n, spec.dim))
    shards = cut(spec.n, SHARD_CHUNKS * CHUNK)
    run_shards(log, shards, Generating(spec, queries, work), run, "vectors")
    hits = truth_of(log.folder, shards, K)
    meta = {"items": spec.n, "dim": spec.dim, "seed": spec.seed, "metric": "cosine", "cpu_seconds": cpu_seconds(log)}
    with committing(out, VECTORS, fingerprint=fingerprint, meta=meta) as folder:
        at = 0
        for (kind, split), held in asked.items():
            Asked(held, hits.ids[at : at + len(held)]).save(folder, kind, split)
            at += len(held)
        os.replace(work / VECTORS_FILE, folder / VECTORS_FILE)  # noqa: PTH105
    shutil.rmtree(work, ignore_errors=True)
    return opened(out, VECTORS, verify=False)


def run_shards(log: ShardLog, shards: list[Shard], work: Callable[[Shard], Any], run: Run, what: str) -> None:
    """Do the shards that aren't finished, with a bar that tells rate and time left."""
    todo = log.missing(shards)
    with tqdm(total=shards[-1].stop, unit=" vec", unit_scale=True, desc=what) as bar:
        bar.update(shards[-1].stop - sum(map(len, todo)))
        for shard, line in finished(run(work, todo)):
            log.finish(line)
            bar.update(len(shard))


def cpu_seconds(log: ShardLog) -> dict[str, float]:
    """By stage, over all shards."""
    total: dict[str, float] = {}
    for line in log.lines.values():
        for stage, seconds in line["cpu_seconds"].items():
            total[stage] = round(total.get(stage, 0.0) + seconds, 3)
    return total


def room_for(path: Path, size: int, what: str) -> None:
    """Raises ValueError when the disk of a path hasn't so many bytes free."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    require(
        free >= size + SPARE,
        f"{what} take {size / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free: "
        "free some, or give a path on another disk",
    )


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of the true rows [Q, K] that were found [Q, k]."""
    none = np.zeros(truth.shape, np.float32)
    return Hits(found, np.zeros(found.shape, np.float32)).recall(Hits(truth, none))
