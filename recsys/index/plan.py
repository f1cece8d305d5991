"""How a catalogue is indexed follows from its size, and from what memory, time and recall are asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, Literal

from recsys.index.large import LargeSpec
from recsys.index.probing import parents_visited
from recsys.index.source import Source
from recsys.index.spec import IndexSpec
from recsys.index.tree import SAMPLE, parents_for
from recsys.value import require, value

Tail = Literal["auto", "none", "copy", "source"]
LISTS_A_ROOT = 5.0  # lists over the square root of the items, rounded to a power of two
WHOLE_RECALL = 0.96  # that bytes reach among many items; above it, half floats settle the best
MANY = 5_000_000
TREE_BYTES = 3  # of float32 vectors a list: the tree, faiss's copy of it, and what a query works with
TREE_FILE = 1.3  # of the same: the leaves, their parents, and how they hang together
PACKED = 32  # places of a list are padded to so many
# CPU microseconds of a query: a leaf looked at, a list visited, a code scanned, a candidate ranked
LOOK, VISIT, SCAN, RANK = 0.0073, 0.086, 0.00095, 0.16
# CPU microseconds a vector of 64 dimensions, on one core of the machine in bench/ann_10m.json
READ, ENCODE, JOIN = 0.65, 0.35, 0.5  # reading with sorting by list
START = 4.5  # seconds, whatever the size: compiled code is loaded, codes are trained
ASSIGN_A_ROOT, TRAIN_A_ROOT = (
    0.022,
    0.16,
)  # times the square root of the lists, since the tree has two levels; of a sampled one


@value
class Budgets:
    """What is asked of an index: None is as much as it takes."""

    memory_gb: float | None = None  # of everything that a search touches
    latency_ms: float | None = None  # CPU of one query, one thread
    recall: float | None = None  # @100, of users' own queries; None: the spec's

    def __post_init__(self) -> None:
        for name in ("memory_gb", "latency_ms", "recall"):
            held = getattr(self, name)
            require(held is None or held > 0, f"{name} must be positive or null, got {held}")
        require(self.recall is None or self.recall <= 1, f"recall must be at most 1, got {self.recall}")


@value
class Plan:
    """The layout with its reasons, and what it is expected to take."""

    engine: Literal["flat", "ivf", "compressed"]
    large: LargeSpec | None
    recall: float
    memory_bytes: int
    disk_bytes: int
    cpu_seconds: float
    reasons: tuple[str, ...]
    tried: Mapping[str, Any] = field(
        default_factory=dict
    )  # what layouts cost over the rule's, and what trying them took

    def lines(self) -> Iterator[str]:
        yield from self.reasons
        yield f"predicted: {self.memory_bytes / 1e9:.3g} GB in memory, {self.disk_bytes / 1e9:.3g} GB on disk"
        yield f"predicted: {self.cpu_seconds:.0f} CPU s to build"
        yield f"asked: recall@100 {self.recall:g} on users' queries"


def planned(source: Source, spec: IndexSpec, budgets: Budgets, tail: Tail, shard_items: int) -> Plan:
    """Raises ValueError when no layout fits the memory."""
    items, dim = len(source), source.dim
    target = budgets.recall or spec.recall_target
    if spec.kind != "auto" or items <= spec.flat_limit or items < 1000 or dim % 2:
        kind = spec.kind_for(items)
        size = items * dim * 4
        require(
            budgets.memory_gb is None or size <= budgets.memory_gb * 1e9,
            f"{kind} takes {size / 1e9:.2f} GB, memory_gb is {budgets.memory_gb}: give more, or index=auto",
        )
        reason = f"{kind}: {items} vectors of {dim} as float32, {'a scan' if kind == 'flat' else 'few lists'} a query"
        return Plan(
            engine=kind,
            large=None,
            recall=target,
            memory_bytes=size,
            disk_bytes=size,
            cpu_seconds=items * (0.1 if kind == "flat" else 30) * 1e-6,
            reasons=(reason,),
        )
    lists = spec.lists or lists_for(items)
    parts, why = _parts(items, dim, lists, budgets.memory_gb)
    kept, tail_why = _tail(source, tail, target)
    large = LargeSpec(metric=spec.metric, lists=lists, parts=parts, tail=kept, shard_items=shard_items, seed=spec.seed)
    whole = f"{lists} lists of about {items / lists:.0f}: a power of two near {LISTS_A_ROOT:g} square roots of {items}"
    return Plan(
        engine="compressed",
        large=large,
        recall=target,
        memory_bytes=memory_of(items, dim, lists, parts),
        disk_bytes=disk_of(items, dim, lists, parts) + items * (beside(source) + (2 * dim if kept == "copy" else 0)),
        cpu_seconds=predicted_cpu(items, dim, lists),
        reasons=(whole, why, tail_why),
    )


def lists_for(items: int) -> int:
    return 1 << max(3, round_log2(LISTS_A_ROOT * items**0.5))


def round_log2(number: float) -> int:
    return max(0, int(number).bit_length() - (number < 1.5 * (1 << (int(number).bit_length() - 1))))


def memory_of(items: int, dim: int, lists: int, parts: int) -> int:
    """Bytes that searches touch: codes with places, rows of bytes, and the tree."""
    return _lists_and_rows(items, dim, lists, parts) + lists * dim * 4 * TREE_BYTES


def disk_of(items: int, dim: int, lists: int, parts: int) -> int:
    """Bytes of the files with codes, places, rows of bytes and the tree."""
    return _lists_and_rows(items, dim, lists, parts) + round(lists * dim * 4 * TREE_FILE)


def _lists_and_rows(items: int, dim: int, lists: int, parts: int) -> int:
    return (items + lists * PACKED // 2) * (parts // 2 + 8) + items * dim


def beside(source: Source) -> int:
    """Bytes an item that few searches touch: its row, and its id where ids aren't in a row."""
    ends = [int(source.read(row, row + 1)[0][0]) for row in (0, len(source) - 1)]
    return 4 if ends[1] - ends[0] == len(source) - 1 else 12


def predicted_cpu(items: int, dim: int, lists: int) -> float:
    return assigned_cpu(items, dim, lists) + trained_cpu(min(items, SAMPLE * lists), dim, lists) + START


def assigned_cpu(items: int, dim: int, lists: int, codes: int = 1) -> float:
    """Seconds to read, assign, and encode and join so many times."""
    return 1e-6 * items * (READ + codes * (ENCODE * dim / 64 + JOIN) + ASSIGN_A_ROOT * lists**0.5 * dim / 64)


def trained_cpu(rows: int, dim: int, lists: int) -> float:
    return 1e-6 * rows * TRAIN_A_ROOT * lists**0.5 * dim / 64


def query_ms(items: int, spec: LargeSpec, dim: int, probes: int, refine: float) -> float:
    """CPU of a query for 100, in a batch: fitted to ways of 1 and 10 million vectors (2026-11, AVX-512), most within a tenth."""
    parents = parents_for(spec.lists)
    visited = parents_visited(probes, parents, spec.lists)
    looked = spec.lists if 2 * visited >= parents else parents + visited * spec.lists / parents
    scanned = items * probes / spec.lists
    ranked = 100 * refine
    return 1e-3 * (VISIT * probes + (LOOK * looked + RANK * ranked) * dim / 64 + SCAN * scanned * spec.parts / 64)


def _parts(items: int, dim: int, lists: int, memory_gb: float | None) -> tuple[int, str]:
    """One part a dimension, unless memory is short: then half of it."""
    if memory_gb is None or memory_of(items, dim, lists, dim) <= memory_gb * 1e9:
        return dim, f"PQ{dim}x4 of residuals: 4 bits a dimension choose, so that 1.5 to 2 times k candidates are enough"
    half = dim // 2 if dim % 4 == 0 else dim
    need = memory_of(items, dim, lists, half)
    codes = need - items * dim  # the rows may stay on disk
    require(
        codes <= memory_gb * 1e9,
        f"{items} vectors of {dim} take at least {codes / 1e9:.2f} GB, memory_gb is {memory_gb}: give more, or shard",
    )
    held = "" if need <= memory_gb * 1e9 else "; rows of bytes don't fit beside them and are read from disk when cold"
    return half, f"PQ{half}x4 of residuals, since memory_gb={memory_gb:g} doesn't hold PQ{dim}x4 with its rows{held}"


def _tail(source: Source, tail: Tail, target: float) -> tuple[Literal["none", "copy", "source"], str]:
    if tail == "source":
        require(source.half is not None, "tail=source needs vectors in a float16 .npy file: give tail=copy")
    if tail != "auto":
        return tail, f"half floats: {tail}, as asked"
    if target > WHOLE_RECALL and len(source) > MANY:
        return "copy", f"half floats copied: recall above {WHOLE_RECALL} among so many needs more than bytes"
    return "none", "no half floats: bytes of residuals are exact enough"
