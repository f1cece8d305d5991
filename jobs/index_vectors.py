"""Plan, build and measure an index of vectors that come from anywhere: jobs.index when it is given vectors=."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from omegaconf import DictConfig, OmegaConf

from jobs.settings import entry_point, instantiated
from recsys.artefact import opened, peek
from recsys.cluster.start import ClusterSpec
from recsys.cluster.tasks import run_tasks
from recsys.index.build import KIND, RECALL
from recsys.index.build_large import USERS, LargeIndex
from recsys.index.build_small import build_small
from recsys.index.in_force import InForce
from recsys.index.plan import Budgets, planned
from recsys.index.source import VECTORS, Source, opened_source
from recsys.index.trials import tried
from recsys.index.vector_index import IndexSpec, Traits, VectorIndex, checked_vectors
from recsys.index.vectors_folder import KINDS, Asked
from recsys.value import require, value


@value
class IndexVectorsSettings:
    """Which vectors, which index, and what is asked of it."""

    vectors: str
    out: str
    queries: str | None
    prior: str | None
    changes: str | None
    budgets: Budgets
    tail: Literal["auto", "none", "copy", "source"]
    shard_items: int
    index: IndexSpec
    cluster: ClusterSpec


def index_vectors_settings(config: DictConfig) -> IndexVectorsSettings:
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    told = {str(key): held for key, held in plain.items()}
    budgets = Budgets(**{name: told.pop(name) for name in ("memory_gb", "latency_ms", "recall")})
    groups = {name: instantiated(told.pop(name), name) for name in ("index", "cluster")}
    return IndexVectorsSettings(budgets=budgets, **groups, **told)


def build(settings: IndexVectorsSettings) -> None:
    source, traits = _given(settings)
    plan = planned(source, settings.index, settings.budgets, settings.tail, settings.shard_items)
    dev, test = _queries(settings)
    if settings.index.lists is None:
        plan = tried(plan, source, dev.queries, settings.budgets, partial(print, flush=True))
    for line in plan.lines():
        print(line, flush=True)
    out, origin = Path(settings.out), _origin(source)
    if plan.large is None:
        spec = replace(settings.index, kind=plan.engine, recall_target=plan.recall)
        made = build_small(source, spec, dev.queries, origin, out, traits)
    else:
        large = LargeIndex(source, plan, settings.budgets, dev, test, origin, traits)
        made = large.build(out, partial(run_tasks, spec=settings.cluster), partial(print, flush=True))
    size = sum(told["bytes"] for told in made.manifest["files"].values())
    print(f"measured: {size / 1e9:.3g} GB on disk, {made.meta.get('us_a_vector', {})} CPU us a vector by stage")
    print(f"{made.meta['kind']} of {made.meta['items']} items in {out}: recall@100 {made.meta[RECALL]}")


def _given(settings: IndexVectorsSettings) -> tuple[Source, Traits]:
    """The vectors with what is known beside them; with `changes`, those in force in an index of them."""
    source = opened_source(settings.vectors, settings.index.metric)
    if settings.changes is not None:
        require(settings.prior is None, "changes= brings the prior of the index that it names: leave prior= out")
        in_force = InForce(source, VectorIndex.load(opened(settings.changes, KIND).path))
        return in_force, in_force.traits()
    prior = None if settings.prior is None else np.load(settings.prior, allow_pickle=False)
    return source, Traits(prior).checked(len(source))


def _queries(settings: IndexVectorsSettings) -> tuple[Asked, dict[str, Asked]]:
    """Queries to tune with, and by kind those to measure with; without truth where it must be found in passing."""
    folder = Path(settings.vectors)
    if settings.queries is not None:
        held = checked_vectors(np.load(settings.queries, allow_pickle=False), "queries", settings.index.metric)
        return Asked.unanswered(held), {}
    if not peek(settings.vectors, VECTORS):
        return Asked.unanswered(np.zeros((0, 1), np.float32)), {}
    return Asked.load(folder, USERS, "dev"), {kind: Asked.load(folder, kind, "test") for kind in KINDS}


def _origin(source: Source) -> dict[str, str]:
    """Which model's vectors these are; vectors of unknown origin are their own."""
    return dict(source.origin) or {"checkpoint": source.fingerprint, "model": source.fingerprint}


main = entry_point("index_vectors", index_vectors_settings, build)

if __name__ == "__main__":
    main()
