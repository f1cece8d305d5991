"""How many lists, and which codes, is tried on a sample: what each layout costs where it finds what the rule's layout finds.

A random row is in the sample with the same chance m / n, so the nearest 100 of all stand for the nearest 100 m / n of
the sample, and the candidates that codes choose thin out alike. Trees of trials are trained on fewer rows than the
build's, or trials would cost what they save: their recalls lie below those of the index (at ten million by .05), all of
them alike. So only ratios of costs at the same recall are taken from here; the recall is foretold by `pilot` with the
tree of the build.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys.index.catalogue import spread
from recsys.index.codec import Codec
from recsys.index.compressed import Choices, CompressedEngine
from recsys.index.encoding import Encoding
from recsys.index.large import codec_of, sampled
from recsys.index.memory_source import MemorySource
from recsys.index.packing import Joining
from recsys.index.plan import Budgets, Plan, assigned_cpu, disk_of, memory_of, predicted_cpu, query_ms, trained_cpu
from recsys.index.running_top import RunningTop
from recsys.index.shards import Shard
from recsys.index.source import Source
from recsys.index.tree import Tree
from recsys.index.tune import source_rows
from recsys.index.vectors_folder import recall

K = 100
SHARE = 0.2  # of the build's CPU seconds that trials may take
FACTORS = (1.0, 2.0, 0.5)  # of the lists that the rule of size takes, which is what all are compared with
NEAREST = (10, 6, 4)  # of a sample that stand for the nearest 100 of all: the first with which all layouts can be tried
TRAIN_ROWS, TRAIN_ROUNDS = 8, 1  # rows a list that trees of trials are trained on, and rounds over all leaves
CODEC_ROWS = 8192
RUNGS = (32, 64, 128, 256, 512)
REFINE = 2.0
QUERIES, ASKED = 200, 0.5  # queries, and CPU seconds to train a code and to ask an index of the sample
# Times the rule's cost, below which another layout is taken. Short training flatters many lists: at 1 and 10 million vectors
# twice as many were foretold to cost .93 and .74, and cost 1.08 and .93 once they were built (LAB.md)
GAIN = 0.7

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A layout on the sample, with what a query would cost among all rows."""

    lists: int
    parts: int
    recalls: tuple[float, ...]  # at each rung
    cpu_ms: tuple[float, ...]

    def cost_over(self, rule: Trial) -> float:
        """Times the rule's CPU for what the rule finds, the geometric mean over its rungs; infinite if it never does."""
        reached = np.maximum.accumulate(self.recalls)
        if reached[-1] < max(rule.recalls[:-1]):
            return float("inf")
        apart = reached + 1e-9 * np.arange(len(reached))  # of equal recalls the first is the cheapest
        mine = np.interp(rule.recalls[:-1], apart, np.log(self.cpu_ms))
        return float(np.exp(np.mean(mine - np.log(rule.cpu_ms[:-1]))))


def tried(plan: Plan, source: Source, queries: np.ndarray, budgets: Budgets, say: Say) -> Plan:
    """The plan with the layout of least cost among those that a fifth of the build can try and the memory holds.

    `queries` [Q, D] are users' own. A plan stays as it is where there are none, or where trials would cost too much.
    """
    if plan.large is None or not len(queries):
        return plan
    began, size, layouts = time.thread_time(), 0, []
    for near in NEAREST:
        size = min(len(source), len(source) * near // K)
        layouts = affordable(plan, source, budgets, size)
        if len(layouts) == len(FACTORS):
            break
    if len(layouts) < 2:
        say(f"nothing tried: with {len(source)} vectors it would cost more than {SHARE:.0%} of the build")
        return plan
    sample = Sample(sampled(source, size, plan.large.seed + 2), spread(queries, QUERIES), len(source), source)
    found = [trial for lists, parts in layouts for trial in sample.trials(plan, lists, parts)]
    costs = {(trial.lists, trial.parts): trial.cost_over(found[0]) for trial in found}
    spent = time.thread_time() - began
    told = ", ".join(f"{lists} of PQ{parts}x4 {cost:.2f}" for (lists, parts), cost in costs.items())
    say(f"tried on {len(sample.rows)} vectors in {spent:.1f} CPU s: lists and their cost over the rule's: {told}")
    best = min(costs, key=lambda each: costs[each])
    held = {"costs": {f"{lists} x PQ{parts}": round(cost, 4) for (lists, parts), cost in costs.items()}}
    held |= {"cpu_seconds": round(spent, 3), "rows": len(sample.rows)}
    return with_layout(plan, source, *(best if costs[best] < GAIN else next(iter(costs))), tried=held)


def affordable(plan: Plan, source: Source, budgets: Budgets, size: int) -> list[tuple[int, tuple[int, ...]]]:
    """Numbers of lists with the codes to try, while their cost stays in SHARE of the build and their bytes in the memory."""
    assert plan.large is not None
    left, dim, held = SHARE * plan.cpu_seconds, source.dim, []
    for factor in FACTORS:
        lists = int(factor * plan.large.lists)
        parts = fitting(plan, len(source), dim, lists, budgets.memory_gb)
        cost = trained_cpu(min(size, TRAIN_ROWS * lists), dim, lists) * (1 + TRAIN_ROUNDS) / 5
        cost += assigned_cpu(size, dim, lists, len(parts)) + ASKED * len(parts)
        if parts and cost <= left:
            left -= cost
            held.append((lists, parts))
    return held


def fitting(plan: Plan, items: int, dim: int, lists: int, memory_gb: float | None) -> tuple[int, ...]:
    """The codes to try: half as long ones only where memory is asked for."""
    assert plan.large is not None
    if memory_gb is None or dim % 4:
        return (plan.large.parts,)
    most = max(memory_gb * 1e9, plan.memory_bytes)  # rows may stay on disk, as the plan says
    return tuple(
        each for each in (dim, dim // 2) if each <= plan.large.parts and memory_of(items, dim, lists, each) <= most
    )


def with_layout(plan: Plan, source: Source, lists: int, parts: int, tried: dict[str, Any]) -> Plan:
    """The plan with its bytes and seconds; what comes of it stands in the manifest beside them."""
    assert plan.large is not None
    items, dim = len(source), source.dim
    kept = lists == plan.large.lists and parts == plan.large.parts
    more = disk_of(items, dim, lists, parts) - disk_of(items, dim, plan.large.lists, plan.large.parts)
    why = f"{lists} lists and PQ{parts}x4, the cheapest of {len(tried['costs'])} layouts on a sample"
    return replace(
        plan,
        large=replace(plan.large, lists=lists, parts=parts),
        memory_bytes=memory_of(items, dim, lists, parts),
        disk_bytes=plan.disk_bytes + more,
        cpu_seconds=predicted_cpu(items, dim, lists),
        reasons=plan.reasons if kept else (why, *plan.reasons[2:]),
        tried=tried,
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows [m, D] of `total`, and users' queries [Q, D]."""

    rows: np.ndarray
    queries: np.ndarray
    total: int
    source: Source

    def trials(self, plan: Plan, lists: int, parts: tuple[int, ...]) -> Iterator[Trial]:
        """One of each code, in lists that are trained once."""
        assert plan.large is not None
        few = spread(self.rows, TRAIN_ROWS * lists)
        unit = self.source.metric == "cosine"
        tree = Tree.train(few, min(lists, len(few)), plan.large.seed, spherical=unit, rounds=TRAIN_ROUNDS)
        few = spread(few, CODEC_ROWS)
        own = tree.assign(few)
        top = RunningTop(self.queries, max(1, round(K * len(self.rows) / self.total)), self.source.metric)
        top.add(self.rows, 0)
        for each in parts:
            spec = replace(plan.large, lists=lists, parts=each)
            with tempfile.TemporaryDirectory() as folder:
                engine = self._engine(tree, codec_of(few - tree.centres[own], own, tree, spec), Path(folder))
                probes = [min(rung, lists) for rung in RUNGS]
                found = tuple(self._found(engine, rung, top.hits().ids) for rung in probes)
            spent = tuple(query_ms(self.total, spec, self.source.dim, rung, REFINE) for rung in probes)
            yield Trial(lists, each, found, spent)

    def _engine(self, tree: Tree, codec: Codec, folder: Path) -> CompressedEngine:
        held, shard = MemorySource(self.rows, self.source.metric), Shard(0, 0, len(self.rows))
        Encoding(held, tree, codec, self.queries[:0], 1, folder)(shard)
        joining = Joining.of(folder, [shard], codec.code_size, folder, tail=False)
        joining.prepare(self.rows.shape[1])
        for span in joining.layout.spans():
            joining(span)
        tree.save(folder)
        codec.save(folder)
        Choices(metric=self.source.metric, probes=1).save(folder)
        return CompressedEngine.load(folder)

    def _found(self, engine: CompressedEngine, probes: int, truth: np.ndarray) -> float:
        places = engine.search(self.queries, truth.shape[1], probes=probes, refine=REFINE).ids
        return recall(source_rows(engine, places), truth)
