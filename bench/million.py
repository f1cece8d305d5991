"""A real catalogue resampled to a million items and more, through the real jobs: embed, index, publish, serve, swap.

python -m bench.million --run outputs/demo [--items 1000000] [--layout ivf] [--out bench/million.json] [--stages embed index]

Stages can be run one at a time: each reads what those before it left in --work, and puts its figures beside theirs in --out.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from bench.resampled import resampled, with_items
from bench.swapping import swapping
from jobs.embed import embedded
from jobs.index import indexed, user_queries
from jobs.index_vectors import IndexVectorsSettings
from jobs.index_vectors import build as build_index_of_vectors
from jobs.settings import CONFIGS, Settings, settings_of
from jobs.stages import Stages
from recsys.artefact import Artefact, committing, opened, remove
from recsys.index.envelope import SealedIndex
from recsys.index.plan import Budgets
from recsys.index.preassigned import subset
from recsys.index.vector_index import VectorIndex

OTHER = "index_of_half"


@dataclass(frozen=True, slots=True)
class Million:
    """A run folder in `work`, whose stages leave artefacts there and return figures."""

    run: Path
    work: Path
    items: int
    layout: str

    def resample(self) -> dict[str, Any]:
        """What an earlier run left is removed."""
        remove(self.work)
        resampled(opened(self.run / "dataset", "dataset"), self.items, self.work / "dataset")
        with_items(opened(self.run / "checkpoint", "checkpoint"), self.items, self.work / "checkpoint")
        return {}

    def embed(self) -> dict[str, Any]:
        embedded(self._stages, self._held("dataset"), self._held("checkpoint"))
        return {}

    def index(self) -> dict[str, Any]:
        remove(self.work / "index")
        make = indexed if self.layout == "ivf" else compressed
        made = make(self._stages, *map(self._held, ("dataset", "checkpoint", "item_vectors")))
        size = sum(told["bytes"] for told in made.manifest["files"].values())
        names = ("kind", "lists", "probes", "queries", "recall@100_vs_exact", "cpu_ms_ood", "us_a_vector", "plan")
        return {"bytes": size, **{name: made.meta[name] for name in names if name in made.meta}, **_choices(made)}

    def half(self) -> dict[str, Any]:
        """Another version of the index, of even items alone: whose answer holds an odd one tells on itself."""
        artefact, target = self._held("index"), self.work / OTHER
        remove(target)
        sealed = SealedIndex.load(artefact)
        stored = sealed.index.changes.stored
        places = np.flatnonzero(stored.ids.every % 2 == 0)
        meta = {**artefact.meta, "items": len(places)}
        with committing(target, "index", fingerprint=f"even-{artefact.fingerprint}", meta=meta) as folder:
            engine = subset(sealed.index.engine, places, folder)
            VectorIndex(engine, stored.ids.at(places), sealed.index.metric).save(folder)
            found = VectorIndex.load(folder).search(sealed.golden.queries, sealed.golden.ids.shape[1])
            replace(sealed.golden, ids=found.ids, scores=found.scores).save(folder)
        return {"items": len(places)}

    def serve(self) -> dict[str, Any]:
        return swapping(self.work, ("index", OTHER))

    @property
    def _stages(self) -> Stages:
        return Stages(_settings(self.work))

    def _held(self, name: str) -> Artefact:
        return opened(self.work / name, name)


STAGES = ("resample", "embed", "index", "half", "serve")


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--run", default="outputs/demo", help="run folder with a trained checkpoint")
    told.add_argument("--items", type=int, default=1_000_000)
    told.add_argument("--layout", choices=("ivf", "compressed"), default="ivf")
    told.add_argument("--work", default="outputs/million", help="where the larger run goes")
    told.add_argument("--out", default="bench/million.json")
    told.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    given = told.parse_args()
    torch.set_num_threads(1)
    out = Path(given.out)
    figures = {} if "resample" in given.stages or not out.exists() else json.loads(out.read_text())
    figures |= {"items": given.items, "layout": given.layout, "machine": _machine()}
    for stage in given.stages:
        figures[stage] = timed(Million(Path(given.run), Path(given.work), given.items, given.layout), stage)
        print(stage, json.dumps(figures[stage], indent=1), flush=True)
        out.write_text(json.dumps(figures, indent=1) + "\n")


def timed(million: Million, stage: str) -> dict[str, Any]:
    """The stage's figures, and what it took of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    figures = getattr(million, stage)()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if stage == "serve":
        return figures
    rate = {"items_per_cpu_s": round(million.items / cpu), "cpu_us_per_item": round(1e6 * cpu / million.items, 2)}
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1), **rate, **figures}


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


def _choices(index: Artefact) -> dict[str, Any]:
    path = index.path / "choices.json"
    return {"choices": json.loads(path.read_bytes())} if path.is_file() else {}


def _settings(run: Path) -> Settings:
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        told = [f"run_dir={run}", "cluster=local0", "tracking=none"]
        return settings_of(compose("config", overrides=told))


def _machine() -> dict[str, str]:
    held = {name: metadata.version(name) for name in ("faiss-cpu", "numpy", "torch")}
    return {"platform": platform.platform(), "threads": "1", **held}


if __name__ == "__main__":
    main()
