"""What surrounds a search costs: taking samples of queries, replaying them, and the hops to shards on Ray Serve.

python -m bench.search --run outputs/demo [--shards 2] [--out bench/search.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import serve as ray_serve

from recsys.artefact import opened
from recsys.cluster.start import ClusterSpec, connected
from recsys.index.envelope import Golden, SealedIndex
from recsys.index.exact import Hits
from recsys.index.online_recall import KNOWN, OnlineRecall, RecallSpec, Sample
from recsys.index.sharding import search_whole, split_index
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import rng
from serve.sharded import APP, ShardedSpec, start_sharded

ITEMS, DIM, K = 1_000_000, 64, 100
BATCHES, ROUNDS = (1, 32), 200


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--run", default="outputs/demo", help="run folder with an index")
    told.add_argument("--shards", type=int, default=2)
    told.add_argument("--port", type=int, default=8124, help="of Ray Serve, on loopback")
    told.add_argument("--out", default=None, help="where the figures go as JSON; default: only to the screen")
    given = told.parse_args()
    torch.set_num_threads(1)
    figures = {"online_recall": sampling(), "shards": hops(Path(given.run), given.shards, given.port)}
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    if given.out:
        Path(given.out).write_text(text)


def sampling() -> dict[str, float]:
    """CPU of a batch of 8 queries that is offered, and of one that is replayed, at a million items."""
    vectors = rng(0, "items").standard_normal((ITEMS, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = VectorIndex.build(vectors, None, IndexSpec(kind="flat"))
    sealed = SealedIndex(index, Golden.of(index, vectors[:0], vectors), "version", "model", "checkpoint")
    watch = OnlineRecall(sealed, vectors, {}, RecallSpec())
    allowed, found = np.ones(ITEMS, dtype=bool), np.tile(np.arange(K), (8, 1))
    batch, past = vectors[:8], [np.arange(9)] * 8
    began = time.process_time()
    for _ in range(100_000):
        watch.offer(batch, found, allowed, past)
    offered = (time.process_time() - began) / 100_000
    replays = [_cpu(lambda row=row: watch.replay(Sample(vectors[row], found[0], allowed, KNOWN))) for row in range(9)]
    return {
        "us_per_batch_of_8": round(1e6 * offered, 3),
        "ms_per_replay_of_1m": round(1e3 * float(np.median(replays)), 1),
    }


def hops(run: Path, shards: int, port: int) -> dict[str, Any]:
    """Wall time of the same batches in this process and through router and shards, in turn."""
    artefact = opened(run / "index", "index")
    sealed = SealedIndex.load(artefact)
    with tempfile.TemporaryDirectory() as folder, connected(ClusterSpec(workers=1)):
        split_index(artefact, shards, Path(folder) / "shards")
        running = start_sharded(ShardedSpec(port=port, num_cpus=0.5), str(Path(folder) / "shards"))
        router = ray_serve.get_app_handle(APP)
        told = {str(size): _compared(sealed, router, size) for size in BATCHES}
        running.stop()
    return {"items": len(sealed.index), "kind": sealed.index.kind, "k": K, "shards": shards, "queries_at_once": told}


def _compared(sealed: SealedIndex, router: Any, size: int) -> dict[str, float]:
    queries = sealed.golden.queries[np.arange(size) % len(sealed.golden.queries)]
    arms: dict[str, Callable[[], Hits]] = {
        "whole": lambda: search_whole(sealed.index, queries, K),
        "sharded": lambda: router.search.remote(queries, K).result(),
    }
    spent: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(ROUNDS):
        for name, search in arms.items():
            began = time.perf_counter()
            search()
            spent[name].append((time.perf_counter() - began) * 1000)
    p50 = {f"{name}_p50_ms": round(float(np.median(held[20:])), 3) for name, held in spent.items()}
    return p50 | {"hop_ms": round(p50["sharded_p50_ms"] - p50["whole_p50_ms"], 3)}


def _cpu(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
