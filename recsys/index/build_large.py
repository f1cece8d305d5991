"""A compressed index is committed with the recall and the cost that were measured on it, by kind of query."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.fingerprint import array_sha256
from recsys.index.build import FORMAT, KIND, RECALL
from recsys.index.catalogue import spread
from recsys.index.compressed import Choices, CompressedEngine
from recsys.index.encoding import IDS, TAIL, truth_of
from recsys.index.envelope import GOLDEN, SAMPLED_ROWS, TOP, Golden, cosines
from recsys.index.ids import Ids
from recsys.index.large import K, LargeBuild, LargeSpec, sampled
from recsys.index.layout import write_layout
from recsys.index.pilot import Forecast, enough, forecast
from recsys.index.plan import Budgets, Plan, query_ms
from recsys.index.priced import Priced
from recsys.index.source import Source
from recsys.index.stored import Stored
from recsys.index.strengths import Passing, measured_tuning
from recsys.index.tiers import Tier
from recsys.index.traits import Traits
from recsys.index.tree import BLOCK
from recsys.index.tune import Way, chosen, fallen_short, measured, rungs, source_rows, ways, with_choice
from recsys.index.tuning import weights
from recsys.index.vector_index import VectorIndex
from recsys.index.vectors_folder import Asked, Run
from recsys.value import require

Say = Callable[[str], None]
PILOT_ROWS, PILOT_QUERIES = 1_000_000, 200
CANDIDATES = 2.0  # times k, that a forecast is of
USERS = "ood"  # the kind of queries that an index is tuned for


@dataclass(frozen=True, slots=True)
class LargeIndex:
    """What is indexed, how, and the queries that tune it (dev) and measure it (test); dev may be without its truth."""

    source: Source
    plan: Plan
    budgets: Budgets
    dev: Asked
    test: Mapping[str, Asked]
    origin: Mapping[str, str]  # checkpoint and model
    traits: Traits = field(default_factory=Traits)  # of every row of the source

    @property
    def fingerprint(self) -> str:
        traits = {name: array_sha256(column) for name, column in self.traits.columns().items()}
        return fingerprint_of(KIND, FORMAT, "large", self.source.fingerprint, self.plan.large, self.budgets, traits)

    def build(self, out: Path, run: Run, say: Say) -> Artefact:
        """Commit the index to `out`; a working folder beside it keeps what is finished when this is cut short."""
        spec = self.plan.large
        assert spec is not None
        began = time.perf_counter()
        source = self.source if self.traits.prior is None else Priced(self.source, self.traits.prior)
        require(spec.tail != "source" or source.half is not None, "tail=source lacks the prior: give tail=copy")
        spec = replace(spec, parts=spec.parts * source.dim // self.source.dim)
        passing = Passing.of(self.dev, self._weights())
        build = LargeBuild(source, spec, passing.queries(source.dim), working(out))
        told = self._foretell(build, say) if len(self.dev.queries) else None
        cost = build.encode(run)
        plain, weighted = passing.answered(truth_of(build.work, build.shards, min(K, len(self.source))).ids)
        dev, test = self.dev, self.test
        if len(plain.queries):
            dev, test = plain.every(0, 2), {USERS: plain.every(1, 2)}
        meta: dict[str, Any] = {**self.origin, "dim": self.source.dim, "items": len(self.source), "kind": "compressed"}
        with committing(out, KIND, fingerprint=self.fingerprint, meta=meta) as folder:
            cost["cpu_seconds"]["join"] = round(build.join(folder, run), 3)
            choices = Choices(metric=spec.metric, probes=1, tail=tail_path(spec, source))
            choices.save(folder)
            way = self._tuned(folder, dev, say)
            with_choice(choices, way).save(folder)
            engine = CompressedEngine.load(folder)
            index = self._stored(folder, engine, passing.few, weighted)
            meta |= {"lists": engine.lists, "probes": engine.probes, "large": asdict(spec), "queries": len(dev.queries)}
            meta |= measurements(engine, test or {USERS: dev}, say)
            meta["plan"] = self._compared(told, meta, cost["cpu_seconds"], folder)
            meta |= {"cost": cost, "us_a_vector": us_a_vector(cost["cpu_seconds"], len(self.source))}
            golden(index, engine, dev.queries, self.source).save(folder)
            meta["wall_seconds"] = round(time.perf_counter() - began, 1)
        shutil.rmtree(build.work, ignore_errors=True)
        return opened(out, KIND, verify=False)

    def _compared(
        self, told: Forecast | None, meta: Mapping[str, Any], seconds: Mapping[str, float], folder: Path
    ) -> dict[str, Any]:
        """What the plan foretold beside what came of it."""
        predicted: dict[str, Any] = {"bytes": self.plan.disk_bytes, "cpu_seconds": round(self.plan.cpu_seconds, 3)}
        if told is not None:
            predicted |= {"recall": round(told.recall, 6), "probes": told.probes, "cpu_ms": round(self._ms(told), 4)}
        actual = {
            "bytes": sum(path.stat().st_size for path in folder.iterdir()),
            "cpu_seconds": round(sum(seconds.values()), 3),
            "recall": meta[RECALL],
            "probes": meta["probes"],
            "cpu_ms": meta.get(f"cpu_ms_{USERS}"),
        }
        reasons, tried = list(self.plan.reasons), dict(self.plan.tried)
        return {"predicted": predicted, "actual": actual, "tried": tried, "reasons": reasons}

    def _ms(self, told: Forecast) -> float:
        assert self.plan.large is not None
        return query_ms(len(self.source), self.plan.large, self.source.dim, told.probes, CANDIDATES)

    def _weights(self) -> tuple[float, ...]:
        """Of the prior, at which probes are measured."""
        if self.traits.prior is None or not len(self.dev.queries):
            return ()
        norm = np.linalg.norm(sampled(self.source, PILOT_QUERIES, 0), axis=1).mean()
        return tuple(weights(self.traits.prior, self.dev.queries, float(norm)))

    def _stored(
        self, folder: Path, engine: CompressedEngine, few: np.ndarray, weighted: Mapping[float, Asked]
    ) -> VectorIndex:
        """The index of an engine in its folder, with what is beside the engine's files written."""
        assert self.plan.large is not None
        metric = self.plan.large.metric
        traits = self.traits.take(engine.order) if self.traits.columns() else self.traits
        tier = None if traits.prior is None else Tier.of(engine, metric, traits, norms(engine))
        tuning = measured_tuning(engine, tier, weighted, few, self.plan.recall)
        given = folder / IDS
        stored = Stored(engine, Ids.of(np.load(given, mmap_mode="r", allow_pickle=False)), metric, traits, tier, tuning)
        given.unlink()  # what is mapped stays; it is written again unless ids are rows
        write_layout(folder, stored.save_beside(folder))
        return VectorIndex.of(stored)

    def _foretell(self, build: LargeBuild, say: Say) -> Forecast:
        tree, _, _ = build.trained()
        rows = sampled(self.source, PILOT_ROWS, build.spec.seed + 1)
        some = spread(self.dev.queries, PILOT_QUERIES)
        told = enough(forecast(tree, rows, self.source, some, rungs(len(tree))), self.plan.recall)
        way = f"recall {told.recall:.3f} at {told.probes} lists in {self._ms(told):.2f} CPU ms"
        say(f"predicted: {way}, from {len(rows)} sampled vectors")
        latency = self.budgets.latency_ms
        if told.recall < self.plan.recall or (latency is not None and self._ms(told) > latency):
            say(f"predicted: recall {self.plan.recall:g} won't be reached in {latency or self._ms(told):.2f} CPU ms")
        return told

    def _tuned(self, folder: Path, dev: Asked, say: Say) -> Way:
        engine, target = CompressedEngine.load(folder), self.plan.recall
        if not len(dev.queries):
            say("no queries to tune with: give queries=, users' own; a sixteenth of the lists is visited")
            return Way(
                max(1, engine.lists // 16), 2.0, engine.choices.tail_rows if engine.tail is not None else 0, 0.0, 0.0
            )
        found = ways(engine, dev, target)
        for way in found:
            tail = f", half floats of {way.tail}" if way.tail else ""
            say(
                f"{way.probes} lists, {way.refine:g} k candidates{tail}: recall {way.recall:.4f}, {way.cpu_ms:.3f} CPU ms"
            )
        way = chosen(found, target, self.budgets.latency_ms)
        if (missed := fallen_short(found, way, target, self.budgets.latency_ms)) is not None:
            say(missed)
        return way


def measurements(engine: CompressedEngine, test: Mapping[str, Asked], say: Say) -> dict[str, Any]:
    """Recall as the index will be searched, on queries that didn't choose how."""
    told: dict[str, Any] = {RECALL: None}
    for kind, asked in test.items():
        if len(asked.queries):
            way = measured(engine, asked, engine.probes, engine.choices.refine, engine.choices.tail_rows)
            told[f"recall@100_{kind}"] = round(way.recall, 6)
            told[f"cpu_ms_{kind}"] = round(way.cpu_ms, 4)
            say(f"measured, {kind}: recall {way.recall:.4f}, {way.cpu_ms:.3f} CPU ms, {engine.probes} lists")
    told[RECALL] = told.get(f"recall@100_{USERS}")
    return told


def working(out: Path) -> Path:
    """The folder of what is finished of an artefact that isn't yet."""
    return out.with_name(f"{out.name}.building")


def tail_path(spec: LargeSpec, source: Source) -> str | None:
    if spec.tail == "copy":
        return TAIL
    return str(source.half.resolve()) if spec.tail == "source" and source.half is not None else None


def norms(engine: CompressedEngine) -> np.ndarray:
    """[n] float32 of the vectors without a prior, as they are kept."""
    found = np.empty(len(engine), np.float32)
    dim = engine.tree.leaves.shape[1]
    for start in range(0, len(engine), BLOCK):
        places = np.arange(start, min(start + BLOCK, len(engine)))
        found[places] = np.linalg.norm(engine.rows(places)[:, :dim], axis=1)
    return found


def us_a_vector(seconds: Mapping[str, float], items: int) -> dict[str, float]:
    """CPU microseconds by stage."""
    return {stage: round(1e6 * held / items, 3) for stage, held in seconds.items()}


def golden(index: VectorIndex, engine: CompressedEngine, queries: np.ndarray, source: Source) -> Golden:
    """Queries with their answers, and how closely rows are kept."""
    places = spread(np.arange(len(engine)), SAMPLED_ROWS // 4)
    given = np.concatenate([source.read(row, row + 1)[1] for row in source_rows(engine, places).tolist()])
    asked = spread(queries if len(queries) else given, GOLDEN)
    hits = index.search(asked, TOP)
    error = 1 - cosines(engine.rows(places)[:, : index.dim], given)
    return Golden(asked, hits.ids, hits.scores, float(max(0.0, error.max(initial=0.0))))
