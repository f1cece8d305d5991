"""A filtered search is one of three: the usual lists, more lists, or a scan of what is allowed, whichever costs least.

A filter takes candidates away, so the k nearest allowed lie deeper than the k nearest: with the usual probes a search
returns too few of them, or the wrong ones, and doesn't say so. Lists are visited until k are found and one doubling
of the probes changes as little as it does in a search without a filter; where that costs more than scoring
everything allowed, that is done instead. So what a query costs is bounded by the exact scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recsys.index.engine import Engine
from recsys.index.exact import Hits, exact_search
from recsys.index.spec import Metric

WIDENING = 1 / 3  # measured: with probes * share ** -WIDENING a random filter rarely needs a second doubling
SLACK = 0.9  # a filtered search may be less settled than one without a filter by this factor, as its recall may
AFTERWARDS = 0.25  # share allowed from which a search without the selector, which faiss is slow with, costs less
SURPLUS = 1.1  # hits fetched for each that is wanted, if allowed items lay evenly, and k more
# Times the probes' cost that settling takes: half of the probes, all of them, and twice as many for some queries
SETTLING = 2.0
SCAN_BLOCK = 65_536  # rows gathered at a time

# nanoseconds of one thread at 64 dimensions (AVX2, 2026-11); only their ratios matter
VISIT = 4.0  # to ask whether a place of a list is allowed
SCORE = 50.0  # to score an allowed place between others that aren't
OWN_VISIT, OWN_SCORE = 1.5, 20.0  # the same of an engine that has a scan of its own
GATHER = 150.0  # to fetch a row from where it lies
PRODUCT = 20.0  # to score a fetched row and keep the best


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured when the index was built: probes by weight of the prior, and how settled a search is."""

    probes: tuple[tuple[float, int], ...] = ()  # (weight, probes), by weight; empty: the engine's own
    settled: float = 0.8  # share of the hits that half of the probes find too, for nine of ten queries

    def probes_at(self, weight: float, engine: Engine) -> int:
        """Probes for this weight: the larger number of the two weights beside it that were measured."""
        if not self.probes:
            return engine.probes
        weights = [held for held, _ in self.probes]
        above = int(np.searchsorted(weights, weight))
        beside = (above,) if above < len(weights) and weights[above] == weight else (above - 1, above)
        return max(self.probes[at][1] for at in beside if at < len(weights))

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Tuning:
        return cls(tuple((float(weight), int(probes)) for weight, probes in plain["probes"]), float(plain["settled"]))


@dataclass(frozen=True, slots=True)
class Planner:
    """Searches of one engine, by the cheapest way that keeps what a filter promises."""

    engine: Engine
    metric: Metric
    tuning: Tuning = Tuning()

    def search(
        self, queries: np.ndarray, k: int, allowed: np.ndarray | None, weight: float = 0.0, deeper: float = 1.0
    ) -> Hits:
        """Exactly min(k, allowed) places of each query [B, D], best first; `allowed` is a mask [n] over places.

        `deeper` says how many times more hits are wanted than the probes were chosen for.
        """
        size = len(self.engine)
        count = size if allowed is None else int(np.count_nonzero(allowed))
        k = min(k, count)
        if k == 0 or not len(queries):
            return Hits.empty(len(queries), k)
        probes = min(round(self.tuning.probes_at(weight, self.engine) * deeper**0.5), self.engine.lists)
        if allowed is None or count == size:
            return self._completed(queries, k, probes)
        probes = self._widened(probes, count / size)
        if self.engine.lists == 1 or self._scan_cost(count) <= SETTLING * self._probe_cost(probes, count):
            return self._scan(queries, k, allowed, count)
        if count >= AFTERWARDS * size:
            return self._filtered_afterwards(queries, k, allowed, probes)
        return self._settled(queries, k, allowed, probes)

    def _widened(self, probes: int, share: float) -> int:
        """The k nearest allowed lie as deep as the k / share nearest of all, for which more lists are needed."""
        return min(int(np.ceil(probes * share**-WIDENING)), self.engine.lists)

    def _completed(self, queries: np.ndarray, k: int, probes: int) -> Hits:
        hits = self.engine.search(queries, k, probes=probes)
        _put(hits, np.flatnonzero(hits.ids[:, -1] < 0), lambda rows: self._everywhere(queries[rows], k, None))
        return hits

    def _filtered_afterwards(self, queries: np.ndarray, k: int, allowed: np.ndarray, probes: int) -> Hits:
        """Where much is allowed: more hits without a filter, less those not allowed; a full answer is as good as any."""
        size = len(self.engine)
        wide = min(int(SURPLUS * k * size / np.count_nonzero(allowed)) + k, size)
        hits = self.engine.search(queries, wide, probes=probes)
        there = (hits.ids >= 0) & allowed[hits.ids]
        order = np.argsort(~there, axis=1, kind="stable")[:, :k]
        best = Hits(np.take_along_axis(hits.ids, order, axis=1), np.take_along_axis(hits.scores, order, axis=1))
        short = np.flatnonzero(there.sum(1) < k)
        _put(best, short, lambda rows: self._settled(queries[rows], k, allowed, probes))
        return best

    def _settled(self, queries: np.ndarray, k: int, allowed: np.ndarray, probes: int) -> Hits:
        hits = self.engine.search(queries, k, probes=max(probes // 2, 1), allowed=allowed)
        unsure, spent, count = np.arange(len(queries)), 0.0, int(np.count_nonzero(allowed))
        while len(unsure):
            if probes >= self.engine.lists or spent > self._scan_cost(count):
                _put(hits, unsure, lambda rows: self._scan(queries[rows], k, allowed, count))
                break
            more = self.engine.search(queries[unsure], k, probes=probes, allowed=allowed)
            same = overlap(hits.ids[unsure], more.ids)
            hits.ids[unsure], hits.scores[unsure] = more.ids, more.scores
            unsure = unsure[(more.ids[:, -1] < 0) | (same < SLACK * self.tuning.settled)]
            spent += self._probe_cost(probes, count)
            probes = min(2 * probes, self.engine.lists)
        return hits

    def _scan(self, queries: np.ndarray, k: int, allowed: np.ndarray, count: int) -> Hits:
        """Everything allowed is scored: row by row where it is little, list by list where it is much."""
        if self._everywhere_cost(count) < self._gather_cost(count, len(queries)):
            return self._everywhere(queries, k, allowed)
        return best_of(self._scanned(queries, k, np.flatnonzero(allowed)), k)

    def _scanned(self, queries: np.ndarray, k: int, places: np.ndarray) -> Iterator[Hits]:
        for start in range(0, len(places), SCAN_BLOCK):
            block = places[start : start + SCAN_BLOCK]
            yield exact_search(self.engine.rows(block), block, queries, k, metric=self.metric)

    def _everywhere(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> Hits:
        scan = getattr(self.engine, "scan", None)
        if scan is not None and allowed is not None:
            return scan(queries, k, allowed)
        return self.engine.search(queries, k, probes=self.engine.lists, allowed=allowed)

    def _probe_cost(self, probes: int, count: int) -> float:
        return (VISIT * len(self.engine) + SCORE * count) * probes / self.engine.lists

    def _gather_cost(self, count: int, num_queries: int) -> float:
        return count * (GATHER / num_queries + PRODUCT)

    def _scan_cost(self, count: int) -> float:
        """Of one query by itself, so that its answer doesn't depend on what else is asked with it."""
        return min(self._gather_cost(count, 1), self._everywhere_cost(count))

    def _everywhere_cost(self, count: int) -> float:
        visit, score = (OWN_VISIT, OWN_SCORE) if hasattr(self.engine, "scan") else (VISIT, SCORE)
        return visit * len(self.engine) + score * count


def best_of(parts: Iterator[Hits] | list[Hits], k: int) -> Hits:
    """The k best of several searches for the same queries, one width; earlier parts win ties."""
    parts = list(parts)
    ids = np.concatenate([part.ids for part in parts], axis=1)
    scores = np.concatenate([part.scores for part in parts], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return Hits(np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)).widened(k)


def _put(hits: Hits, rows: np.ndarray, again: Any) -> None:
    if len(rows):
        found = again(rows)
        hits.ids[rows], hits.scores[rows] = found.ids, found.scores


def overlap(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """[B] share of the places found now, [B, k], that were found before; -1 are no places."""
    kept = [np.isin(now[now >= 0], then).sum() for then, now in zip(before, after, strict=True)]
    return np.array(kept) / np.maximum((after >= 0).sum(1), 1)
