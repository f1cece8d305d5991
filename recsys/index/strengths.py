"""How many lists a prior takes is measured at each strength, with queries whose nearest were found while vectors passed by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recsys.index.catalogue import spread
from recsys.index.compressed import CompressedEngine
from recsys.index.inverted import widened
from recsys.index.planner import Tuning
from recsys.index.priced import padded
from recsys.index.tiers import Tier
from recsys.index.tune import rungs, source_rows
from recsys.index.tuning import settled
from recsys.index.vectors_folder import Asked, recall

FEW = 100  # queries at each weight


@dataclass(frozen=True, slots=True)
class Passing:
    """Queries that are answered exactly in passing: those whose answers aren't known, and a few at every weight of a prior."""

    plain: np.ndarray  # [P, D]
    few: np.ndarray  # [F, D]
    weights: tuple[float, ...] = ()

    @classmethod
    def of(cls, dev: Asked, weights: tuple[float, ...]) -> Passing:
        return cls(dev.queries[:0] if dev.answered else dev.queries, spread(dev.queries, FEW), weights)

    def at(self, weight: float) -> np.ndarray:
        """[F, D + 1]"""
        return widened(self.few, np.full(len(self.few), weight, np.float32))

    def queries(self, dim: int) -> np.ndarray:
        """[P + weights x F, dim]"""
        return np.concatenate([padded(part, dim) for part in (self.plain, *map(self.at, self.weights))])

    def answered(self, truth: np.ndarray) -> tuple[Asked, dict[float, Asked]]:
        """The plain ones, and those at each weight, with the rows [P + weights x F, k] that were found."""
        starts = [len(self.plain) + at * len(self.few) for at in range(len(self.weights) + 1)]
        weighted = {
            weight: Asked(self.at(weight), truth[start : start + len(self.few)])
            for weight, start in zip(self.weights, starts, strict=False)
        }
        return Asked(self.plain, truth[: len(self.plain)]), weighted


def measured_tuning(
    engine: CompressedEngine, tier: Tier | None, weighted: Mapping[float, Asked], few: np.ndarray, target: float
) -> Tuning:
    """Probes that reach the target recall at every weight, and how settled answers to queries [F, D] are."""
    probes = [(weight, fewest(engine, tier, asked, target)) for weight, asked in weighted.items()]
    if probes:
        probes.insert(0, (0.0, engine.probes))
    return Tuning(tuple(probes), settled(engine, few)) if len(few) else Tuning(tuple(probes))


def fewest(engine: CompressedEngine, tier: Tier | None, asked: Asked, target: float) -> int:
    """The fewest lists that reach the target, or of those that don't the fewest with the best recall."""
    best, most, k = 0, -1.0, asked.truth.shape[1]
    for probes in rungs(engine.lists):
        hits = engine.search(asked.queries, k, probes=probes)
        if tier is not None:
            hits = tier.merged(hits, asked.queries, k, None)
        found = recall(source_rows(engine, hits.ids), asked.truth)
        if found > most:
            best, most = probes, found
        if found >= target:
            break
    return best
