"""A real catalogue resampled to a million items, through the real jobs: embed, index, publish, serve, swap.

python -m bench.million --run outputs/demo [--items 1000000] [--layout ivf] [--out bench/million.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from hydra import compose, initialize_config_dir

from bench.resampled import resampled, with_items
from bench.serving import server_process
from jobs.embed import embedded
from jobs.index import indexed, user_queries
from jobs.index_vectors import IndexVectorsSettings
from jobs.index_vectors import build as build_index_of_vectors
from jobs.load import users
from jobs.settings import CONFIGS, Settings, settings_of
from jobs.stages import Stages
from recsys.artefact import Artefact, committing, opened, remove
from recsys.data.spec import FIRST
from recsys.funnel.request import FunnelSpec
from recsys.index.envelope import Golden
from recsys.index.item_vectors import ItemVectors
from recsys.index.online_recall import RecallSpec
from recsys.index.plan import Budgets
from recsys.index.vector_index import VectorIndex
from recsys.index.versions import Versions
from serve.client import Client
from serve.loadtest import LoadSpec, run_load
from serve.spec import ServeSpec

MOST_EVEN = 1_000_000  # items of the other version
ROUNDS = 5  # of load without and with a swap, in turn
LOAD = LoadSpec(rate=10.0, requests=100, deadline_ms=500.0, timeout_s=30.0)
# candidates come from the index alone, so that every item of an answer shows which version it is from
FUNNEL = FunnelSpec(popular_candidates=0, own_history=0)


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--run", default="outputs/demo", help="run folder with a trained checkpoint")
    told.add_argument("--items", type=int, default=1_000_000)
    told.add_argument("--layout", choices=("ivf", "compressed"), default="ivf")
    told.add_argument("--work", default="outputs/million", help="where the larger run goes")
    told.add_argument("--out", default="bench/million.json")
    told.add_argument(
        "--build-only", action="store_true", help="serve nothing: an endpoint takes more than 2 kB an item"
    )
    given = told.parse_args()
    torch.set_num_threads(1)
    work = Path(given.work)
    figures = {"items": given.items, "layout": given.layout, "machine": _machine()}
    figures |= build(Path(given.run), given.items, given.layout, work)
    if not given.build_only:
        figures["swap"] = swapping(work)
    text = json.dumps(figures, indent=1) + "\n"
    print(text)
    Path(given.out).write_text(text)


def build(run: Path, items: int, layout: str, work: Path) -> dict[str, Any]:
    """Rates of every stage from the prepared data set to a searchable index; what an earlier run left is removed."""
    remove(work)
    stages, timed = Stages(_settings(work)), {}
    with _timed(timed, "resample", items):
        dataset = resampled(opened(run / "dataset", "dataset"), items, work / "dataset")
        checkpoint = with_items(opened(run / "checkpoint", "checkpoint"), items, work / "checkpoint")
    with _timed(timed, "embed", items):
        vectors = embedded(stages, dataset, checkpoint)
    with _timed(timed, "index", items):
        make = indexed if layout == "ivf" else compressed
        index = make(stages, dataset, checkpoint, vectors)
    with _timed(timed, "index_of_half", min(items, 2 * MOST_EVEN) // 2):
        half(index, vectors, work / "index_of_half")
    bytes_on_disk = sum(told["bytes"] for told in index.manifest["files"].values())
    names = ("kind", "lists", "probes", "queries", "recall@100_vs_exact")
    return {"stages": timed, "index": {name: index.meta[name] for name in names} | {"bytes": bytes_on_disk}}


def compressed(stages: Stages, dataset: Artefact, checkpoint: Artefact, vectors: Artefact) -> Artefact:
    """The index that jobs.index builds when it is given vectors=, tuned by users' own queries."""
    queries = Path(stages.uri("queries.npy"))
    np.save(queries, user_queries(dataset, checkpoint, vectors).vectors)
    told = IndexVectorsSettings(
        vectors=str(vectors.path),
        out=stages.uri("index"),
        queries=str(queries),
        prior=None,
        changes=None,
        budgets=Budgets(),
        tail="copy",
        shard_items=2_500_000,
        index=stages.settings.index,
        cluster=stages.settings.cluster,
    )
    build_index_of_vectors(told)
    return opened(stages.uri("index"), "index")


def half(index: Artefact, item_vectors: Artefact, target: Path) -> None:
    """Another version of the index, of even items alone: whose answer holds an odd one tells on itself."""
    vectors, spec = ItemVectors.load(item_vectors), _settings(target).index
    kept = np.flatnonzero((vectors.items >= FIRST) & (vectors.items % 2 == 0))[:MOST_EVEN]
    golden = Golden.load(index.path).queries
    built = VectorIndex.build(vectors.vectors[kept], vectors.items[kept], spec, golden)
    with committing(target, "index", fingerprint=f"even-{index.fingerprint}", meta=dict(index.meta)) as folder:
        built.save(folder)
        Golden.of(built, golden, vectors.vectors[kept]).save(folder)


def swapping(work: Path) -> dict[str, Any]:
    """Constant arrivals while indexes take over from each other, beside the same arrivals while none does."""
    versions = Versions(str(work / "versions"))
    parts = [opened(work / name, "index") for name in ("index", "index_of_half")]
    for number in range(ROUNDS + 1):
        versions.publish(parts[number % 2], keep=ROUNDS + 1)
    people = list(users(opened(work / "dataset", "dataset")))
    recall = RecallSpec(share=0.05)
    spec = ServeSpec(funnel=FUNNEL, port=0, index_versions=versions.root, index_poll_s=0.5, recall=recall)
    looked = Looked(parts[1].fingerprint, opened(work / "dataset", "dataset"))
    quiet, swapped = [], []
    with server_process(str(work), spec) as url, Client(url, timeout_s=60) as client:
        run_load(url, people, LoadSpec(rate=5.0, requests=20))
        for _ in range(ROUNDS):
            quiet.append(run_load(url, people, LOAD, looked))
            turn = threading.Timer(LOAD.requests / LOAD.rate / 4, versions.rollback)
            turn.start()
            swapped.append(run_load(url, people, LOAD, looked))
            turn.join()
            _served(client, versions)
        text = client.metrics()
    p99 = [[float(told["p99_ms"]) for told in held] for held in (quiet, swapped)]
    return {
        "arrivals_per_s": LOAD.rate,
        "requests": sum(told["requests"] for told in quiet + swapped),
        "errors": sum(told["errors"] for told in quiet + swapped),
        "mixed_answers": looked.mixed,
        "answers_by_index": dict(looked.seen),
        "p50_ms": {"quiet": _median(quiet, "p50_ms"), "swap": _median(swapped, "p50_ms")},
        "p99_ms": {"quiet": p99[0], "swap": p99[1]},
        "p99_ratio_of_medians": round(float(np.median(p99[1]) / np.median(p99[0])), 3),
        "metrics": [line for line in text.splitlines() if line.startswith(SHOWN) and "_created" not in line],
    }


SHOWN = ("recsys_index_", "recsys_online_recall", "recsys_found", "recsys_stale")


class Looked:
    """Counts answers by the index that they name, and those with an item that this index doesn't hold."""

    def __init__(self, even: str, dataset: Artefact) -> None:
        ids = _item_ids(dataset)
        self._odd, self._even = {name for place, name in enumerate(ids) if place % 2}, even
        self.seen: Counter[str] = Counter()
        self.mixed = 0

    def __call__(self, answer: dict[str, Any]) -> None:
        version = answer["versions"]["index"]
        self.seen[version] += 1
        odd = sum(item["item_id"] in self._odd for item in answer["items"])
        self.mixed += version == self._even and odd > 0


def _item_ids(dataset: Artefact) -> list[str]:
    return pq.read_table(dataset.path / "items.parquet", columns=["item_id"])["item_id"].to_pylist()


def _served(client: Client, versions: Versions) -> None:
    until = time.monotonic() + 60
    while client.health()["index_version"]["held"] != versions.current():
        if time.monotonic() > until:
            raise RuntimeError(f"{versions.current()} isn't served after a minute")
        time.sleep(0.2)


def _median(rounds: list[dict[str, Any]], name: str) -> float:
    return round(float(np.median([told[name] for told in rounds])), 2)


@contextmanager
def _timed(into: dict[str, Any], stage: str, items: int) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    into[stage] = {
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "items_per_cpu_s": round(items / cpu),
        "cpu_us_per_item": round(1e6 * cpu / items, 2),
    }
    print(f"{stage}: {into[stage]}", flush=True)


def _settings(run: Path) -> Settings:
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        told = [f"run_dir={run}", "cluster=local0", "tracking=none"]
        return settings_of(compose("config", overrides=told))


def _machine() -> dict[str, str]:
    held = {name: metadata.version(name) for name in ("faiss-cpu", "numpy", "torch")}
    return {"platform": platform.platform(), "threads": "1", **held}


if __name__ == "__main__":
    main()
