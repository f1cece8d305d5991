"""What was laid out once and isn't changed: vectors behind an engine, with id, prior and groups of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recsys.index.engine import Engine
from recsys.index.engines import built_engine, engine_name, loaded_engine
from recsys.index.exact import Hits
from recsys.index.ids import Ids
from recsys.index.inverted import widened
from recsys.index.planner import Planner, Tuning
from recsys.index.spec import IndexSpec, Metric
from recsys.index.tiers import Tier
from recsys.index.traits import Traits
from recsys.index.tuning import tuned
from recsys.value import require

TABLE, ABOVE = "table", "above_rows"  # how layout.json says that ids are kept


@dataclass(frozen=True)
class Stored:
    """n items behind an engine; with a prior the engine's last dimension is it."""

    engine: Engine
    ids: Ids
    metric: Metric = "cosine"
    traits: Traits = field(default_factory=Traits)
    tier: Tier | None = None
    tuning: Tuning = field(default_factory=Tuning)

    def __post_init__(self) -> None:
        count, size = self.ids.count, len(self.engine)
        require(count == size, f"{count} ids for {size} vectors; build the index again with jobs.index")

    @classmethod
    def build(
        cls, vectors: np.ndarray, ids: np.ndarray, spec: IndexSpec, queries: np.ndarray | None, traits: Traits
    ) -> Stored:
        """Of vectors [n, D], ids [n], queries [Q, D] and traits that were checked."""
        prior = traits.prior
        require(
            prior is None or spec.metric != "l2",
            "a prior is added to an inner product: use metric cosine or inner_product, or leave the prior out",
        )
        engine = built_engine(vectors, spec, prior)
        norms = np.linalg.norm(vectors, axis=1) if spec.metric == "inner_product" else None
        tier = Tier.of(engine, spec.metric, traits, norms)
        sample = vectors[:: max(1, len(vectors) // 256)] if queries is None else queries
        if prior is not None:
            vectors, sample = widened(vectors, prior), widened(sample, np.zeros(len(sample), np.float32))
        tuning = tuned(engine, tier, vectors, sample, spec, prior=prior is not None)
        return cls(engine, Ids.of(ids), spec.metric, traits, tier, tuning)

    @property
    def dim(self) -> int:
        """Of the vectors that were given."""
        return self.engine.dim - (self.traits.prior is not None)

    def __len__(self) -> int:
        return self.ids.count

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, weight: float, deeper: float = 1.0
    ) -> Hits:
        """The k nearest places of queries [B, D or D + 1], among those allowed [n]."""
        hits = Planner(self.engine, self.metric, self.tuning).search(queries, k, allowed, weight, deeper)
        if self.tier is None or not self.tier.applies(weight) or not hits.ids.shape[1]:
            return hits
        return self.tier.merged(hits, queries, hits.ids.shape[1], allowed)

    def vectors(self, places: np.ndarray) -> np.ndarray:
        """[m, D] as they are kept."""
        return self.engine.rows(places)[:, : self.dim]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write all files but layout.json; returns what belongs into it."""
        self.engine.save(folder)
        return self.save_beside(folder)

    def save_beside(self, folder: Path) -> dict[str, Any]:
        """Write what isn't the engine's; returns what belongs into layout.json."""
        rows = source_rows(self.engine)
        above = None if rows is None else self.ids.above(rows)
        if above is None:
            self.ids.save(folder)
        if self.traits.columns():
            self.traits.save(folder)
        if self.tier is not None:
            self.tier.save(folder)
        return {**self.described(), "tuning": self.tuning.plain(), "ids": TABLE if above is None else {ABOVE: above}}

    @classmethod
    def load(cls, folder: Path, layout: Mapping[str, Any], threads: int) -> Stored:
        engine = loaded_engine(layout["engine"], folder, threads)
        ids = loaded_ids(folder, engine, layout.get("ids", TABLE))  # what was written before rows told ids says nothing
        traits, tuning = Traits.load(folder).checked(len(engine)), Tuning()
        if "tuning" in layout:
            tuning = Tuning.of(layout["tuning"])
        metric: Metric = layout["metric"]
        return cls(engine, ids, metric, traits, Tier.load(folder, engine, metric, traits), tuning)

    def described(self) -> dict[str, Any]:
        """What it is made of, as plain values."""
        return {
            "engine": engine_name(self.engine),
            "metric": self.metric,
            "dim": self.dim,
            "items": len(self),
            "lists": self.engine.lists,
            "probes": self.engine.probes,
            "prior": self.traits.prior is not None,
            "groups": sorted(self.traits.groups),
        }


def loaded_ids(folder: Path, engine: Engine, kept: Any) -> Ids:
    """From their table, or from the rows that the engine keeps. Raises ValueError for any other way to keep them."""
    rows = source_rows(engine)
    if kept == TABLE:
        return Ids.load(folder, len(engine))
    require(
        rows is not None and isinstance(kept, dict) and kept.keys() == {ABOVE},
        f"{folder} keeps the ids of a {engine_name(engine)} index as {kept!r}, which this code doesn't know: "
        "update the code, or build the index again with jobs.index",
    )
    return Ids(len(engine), int(kept[ABOVE]), rows)


def source_rows(engine: Engine) -> np.ndarray | None:
    """[n] row of the source at each place, of an engine that keeps it; most often it's the item's id, too."""
    return getattr(engine, "order", None)
