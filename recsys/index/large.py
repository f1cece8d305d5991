"""A catalogue that doesn't fit into memory is indexed shard by shard; what is finished survives whoever dies."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from recsys.artefact import fingerprint_of
from recsys.fingerprint import array_sha256
from recsys.index.codec import Codec, spreads
from recsys.index.encoding import Encoding
from recsys.index.packing import Joining
from recsys.index.priced import Priced
from recsys.index.shards import Shard, ShardLog, cut
from recsys.index.source import Source
from recsys.index.spec import Metric
from recsys.index.tree import SAMPLE, Tree
from recsys.index.vectors_folder import Run, cpu_seconds, finished, room_for, run_shards
from recsys.random import rng
from recsys.storage import write_file
from recsys.value import require, value

FORMAT = 3
RUN = 4096  # neighbouring rows read at a time for the training sample
K = 100


@value
class LargeSpec:
    """What the files of a compressed index depend on, besides the vectors."""

    metric: Metric
    lists: int
    parts: int  # of 4 bits each, of a code
    tail: Literal["none", "copy", "source"] = (
        "none"  # half floats: kept in order of place, or read where the source lies
    )
    shard_items: int = 2_500_000
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.lists >= 1, f"lists must be at least 1, got {self.lists}")
        require(self.shard_items >= 1, f"shard_items must be at least 1, got {self.shard_items}")


@dataclass(frozen=True, slots=True)
class LargeBuild:
    """A build in a working folder, which a later one of the same settings, vectors and queries goes on with.

    The exact nearest rows of `queries` [Q, D] are found while the vectors pass by.
    """

    source: Source
    spec: LargeSpec
    queries: np.ndarray
    work: Path

    @property
    def shards(self) -> list[Shard]:
        return cut(len(self.source), self.spec.shard_items)

    @property
    def dim(self) -> int:
        """Of the vectors alone."""
        return self.source.vector_dim if isinstance(self.source, Priced) else self.source.dim

    def encode(self, run: Run) -> dict[str, Any]:
        """Train on a sample, and encode all shards that aren't finished; returns what it cost."""
        spec, log = self.spec, self._log()
        tree, codec, training = self.trained()
        encoding = Encoding(self.source, tree, codec, self.queries, K, self.work, spec.tail == "copy")
        run_shards(log, self.shards, encoding, run, "encode")
        peak = max(line["peak_rss"] for line in log.lines.values())
        return {"cpu_seconds": {**training, **cpu_seconds(log)}, "peak_rss_worker": peak}

    def join(self, target: Path, run: Run) -> float:
        """Write the engine's files but its choices into an existing folder; returns the CPU seconds of it."""
        codec = Codec.load(self.work)
        codec.save(target)
        Tree.load(self.work).save(target)
        joining = Joining.of(self.work, self.shards, codec.code_size, target, self.spec.tail == "copy")
        joining.prepare(self.source.dim)
        seconds = 0.0
        with tqdm(total=len(self.source), unit=" vec", unit_scale=True, desc="join") as bar:
            for _, (count, cpu) in finished(run(joining, joining.layout.spans())):
                bar.update(count)
                seconds += cpu
        return seconds

    @property
    def bytes_encoded(self) -> int:
        """Shards and index on disk at once, at most."""
        width = self.spec.parts // 2 + self.source.dim + 16 + (2 * self.source.dim if self.spec.tail == "copy" else 0)
        return 2 * len(self.source) * width

    def _log(self) -> ShardLog:
        room_for(self.work, self.bytes_encoded, "encoded shards and the index")
        made_from = fingerprint_of("large", FORMAT, self.source.fingerprint, self.spec, array_sha256(self.queries))
        return ShardLog(self.work, made_from)

    def trained(self) -> tuple[Tree, Codec, dict[str, float]]:
        """Tree and codec of this build, trained once, since shards of two trainings wouldn't fit together; CPU seconds."""
        self._log()
        done = self.work / "trained.json"
        if not done.is_file():
            began = time.thread_time()
            rows = sampled(self.source, SAMPLE * self.spec.lists, self.spec.seed)
            dim = self.dim
            tree = Tree.train(rows[:, :dim], self.spec.lists, self.spec.seed, spherical=self.spec.metric == "cosine")
            own = tree.assign(rows)
            if isinstance(self.source, Priced):
                tree = tree.with_prior(own, rows[:, dim])
            codec = codec_of(rows - tree.centres[own], own, tree, self.spec)
            tree.save(self.work)
            codec.save(self.work)
            write_file(done, json.dumps({"train": round(time.thread_time() - began, 3)}).encode())
        return Tree.load(self.work), Codec.load(self.work), json.loads(done.read_bytes())


def codec_of(residuals: np.ndarray, own: np.ndarray, tree: Tree, spec: LargeSpec) -> Codec:
    """From residuals [n, D or W] of the lists [n]; what is behind D, a prior, has no say in how wide a list is."""
    # where norms differ, a list's rare long vector would be cut to its others' span
    unit, dim = spec.metric == "cosine", tree.leaves.shape[1]
    spread = spreads(residuals[:, :dim], own, len(tree)) if unit else np.ones(len(tree), np.float32)
    return Codec.train(residuals, spread, own, spec.parts, even=spec.metric != "inner_product")


def sampled(source: Source, count: int, seed: int) -> np.ndarray:
    """About `count` vectors in runs of neighbours, evenly spread over the source; all of a smaller one."""
    total = len(source)
    if count >= total:
        return source.read(0, total)[1]
    runs = max(1, round(count / RUN))
    room = total - RUN
    shift = rng(seed, "sample").random() if room > 0 else 0.0
    starts = ((np.arange(runs) + shift) / runs * max(0, room)).astype(np.int64)
    return np.concatenate([source.read(int(start), int(start) + RUN)[1] for start in starts])
