"""How many lists a query visits is chosen by the recall of users' own queries, and of the ways that reach it the cheapest."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from recsys.index.compressed import Choices, CompressedEngine
from recsys.index.vectors_folder import Asked, recall

LADDER = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
REFINES = (1.5, 2.0, 3.0, 4.0, 8.0)
# Rows ranked by half floats: where vectors are near to each other, codes and bytes choose badly which these are. Above the
# candidates of the last of REFINES, as many rows are ranked as codes choose
TAILS = (0, 200, 400, 800, 1600, 3200)
FURTHER = 2  # rungs above the first that reaches the target: fewer candidates may make up for more lists


@dataclass(frozen=True, slots=True)
class Way:
    """A way to search, with what it found and cost on the tuning queries."""

    probes: int
    refine: float
    tail: int  # rows ranked by half floats
    recall: float
    cpu_ms: float  # of a query in a batch, one thread


def ways(engine: CompressedEngine, asked: Asked, target: float) -> list[Way]:
    """What was measured, by ascending probes, until two rungs above the first that reaches the target recall."""
    found: list[Way] = []
    left = FURTHER
    for probes in rungs(engine.lists):
        best = max((row.recall for row in _rung(engine, asked, probes, target, found)), default=0.0)
        left -= best >= target
        if left < 0:
            break
    return found


def chosen(found: list[Way], target: float, latency_ms: float | None) -> Way:
    """The cheapest way that reaches the target within the latency; where none does, the best recall that is allowed."""
    quick = [way for way in found if latency_ms is None or way.cpu_ms <= latency_ms] or [
        min(found, key=lambda way: way.cpu_ms)
    ]
    enough = [way for way in quick if way.recall >= target]
    if enough:
        return min(enough, key=lambda way: way.cpu_ms)
    return max(quick, key=lambda way: way.recall)


def fallen_short(found: list[Way], way: Way, target: float, latency_ms: float | None) -> str | None:
    """Which budgets these vectors can keep, where a chosen way doesn't keep what was asked."""
    late = latency_ms is not None and way.cpu_ms > latency_ms
    if way.recall >= target and not late:
        return None
    enough = [each for each in found if each.recall >= target]
    asked = f"recall {target:g}" + ("" if latency_ms is None else f" in {latency_ms:g} CPU ms")
    told = f"budgets missed: {asked} was asked, {way.recall:.4f} in {way.cpu_ms:.3f} ms is what is taken"
    if enough:
        return f"{told}; recall {target:g} takes latency_ms={min(each.cpu_ms for each in enough):.3f}"
    best = max(found, key=lambda each: each.recall)
    better = "" if best.tail else "; half floats (tail=copy) or more memory_gb may find more"
    return f"{told}; the most that was found is recall={best.recall:.4f} with latency_ms={best.cpu_ms:.3f}{better}"


def with_choice(choices: Choices, way: Way) -> Choices:
    kept, rows = (choices.tail, way.tail) if way.tail else (None, choices.tail_rows)
    return replace(choices, probes=way.probes, refine=way.refine, tail=kept, tail_rows=rows)


def rungs(lists: int) -> list[int]:
    return sorted({min(probes, lists) for probes in LADDER} | ({lists} if lists < LADDER[-1] else set()))


def measured(engine: CompressedEngine, asked: Asked, probes: int, refine: float, tail: int) -> Way:
    """One way, on queries whose nearest rows are known."""
    k = min(asked.truth.shape[1], len(engine))
    began = time.thread_time()
    hits = engine.search(asked.queries, k, probes=probes, refine=refine, tail=tail)
    spent = (time.thread_time() - began) / max(1, len(asked.queries))
    return Way(probes, refine, tail, recall(source_rows(engine, hits.ids), asked.truth), 1e3 * spent)


def source_rows(engine: CompressedEngine, places: np.ndarray) -> np.ndarray:
    return engine.source_rows(places)


def _refines(tail: int, k: int) -> list[float]:
    """Candidates in k that hold so many rows, the most first."""
    return [each for each in reversed(REFINES) if tail <= each * k] or [tail / k]


def _rung(engine: CompressedEngine, asked: Asked, probes: int, target: float, found: list[Way]) -> list[Way]:
    """All candidates first: where they don't reach the target, fewer don't either."""
    rung = []
    for tail in TAILS if engine.tail is not None else TAILS[:1]:
        for refine in _refines(tail, asked.truth.shape[1]):
            way = measured(engine, asked, probes, refine, tail)
            rung.append(way)
            if way.recall < target:
                break
        if max(way.recall for way in rung) >= target:
            break
    found += rung
    return rung
