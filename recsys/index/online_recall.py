"""Some of the queries that people really ask are answered exactly as well, so what the index misses is known at any time."""

from __future__ import annotations

import math
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import torch

from recsys.evaluate.spread import gini
from recsys.index.envelope import SealedIndex, cosines
from recsys.random import rng
from recsys.value import require, value

NEW, KNOWN = "new", "known"
FEW = 5  # distinct items in the past of a user who is still new
LISTS = "list"  # the grouping by inverted list
AUDITED = 4096  # items whose stored vector is compared with the present one
ROUNDING = 1e-6  # equal vectors get scores that differ by so much, by where they stand in a matrix
REMEMBERED = 500  # replayed queries of which the lists are kept


@value
class RecallSpec:
    """How many queries are replayed, and what may wait."""

    share: float = 0.001  # of the queries
    k: int = 100
    waiting: int = 64  # queries that wait to be replayed; what comes beyond them is counted and dropped
    out: str | None = None  # local folder for figures and evidence; None: nowhere
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.share <= 1, f"share must lie in [0, 1], got {self.share}")
        require(self.out is None or "://" not in self.out, f"out must be a local folder, got {self.out}")
        for name in ("k", "waiting"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Sample:
    """One query with what the index found for it."""

    query: np.ndarray  # [D] float32
    found: np.ndarray  # [k] int64 item ids, -1 for none
    allowed: np.ndarray  # [V] bool over item ids
    kind: str


@dataclass(slots=True)
class Figures:
    """What was seen since the index took over."""

    queries: dict[str, int] = field(default_factory=dict)  # replayed, by kind
    recall: dict[str, float] = field(default_factory=dict)  # mean by kind
    dropped: int = 0
    top_share: dict[str, float] = field(default_factory=dict)  # by grouping: share of found items in the fullest group
    gini: dict[str, float] = field(default_factory=dict)  # by grouping: 0 is even, near 1 one group takes all
    stale_share: float = math.nan  # items whose stored vector isn't what the release makes of them


class OnlineRecall:
    """Replays sampled queries against every vector, in a thread of low priority; the request's path only puts them down.

    vectors [V, D] are those of the release by item id, groups are item groupings such as category or seller, each [V].
    """

    def __init__(
        self, sealed: SealedIndex, vectors: np.ndarray, groups: Mapping[str, np.ndarray], spec: RecallSpec
    ) -> None:
        self._index, self._vectors, self._groups, self.spec = sealed.index, vectors, groups, spec
        self._held = np.zeros(len(vectors), dtype=bool)
        self._held[self._index.ids] = True
        self._stale_beyond = 2 * sealed.golden.row_error + 1e-5
        self._random, self._lock = rng(spec.seed, "online recall", os.getpid()), threading.Lock()
        self._skip = self._next()
        self._waiting: queue.Queue[Sample | None] = queue.Queue(maxsize=spec.waiting)
        self._dropped = 0
        self._sums: dict[str, tuple[int, float]] = {}  # queries and their recalls, by kind
        held = {name: np.bincount(group[self._index.ids]) for name, group in groups.items()}
        self._offered = {name: torch.from_numpy(counts > 0) for name, counts in held.items()}
        self._offered[LISTS] = torch.ones(self._index.lists, dtype=torch.bool)
        self._counts = {name: np.zeros(len(offered), dtype=np.int64) for name, offered in self._offered.items()}
        self._lists: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=REMEMBERED)
        self._stale = math.nan
        self._thread: threading.Thread | None = None

    def start(self, told: Callable[[bool], None] = lambda last: None) -> None:
        """Replay in a thread until `close`; `told` is called before, after every replay, and last with True."""
        self._thread = threading.Thread(target=self._run, args=(told,), name="online-recall", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread after what waits; samples that come later are dropped."""
        while self._thread is not None and self._thread.is_alive():
            with suppress(queue.Full):
                self._waiting.put(None, timeout=0.1)
                break
        if self._thread is not None:
            self._thread.join(timeout=30)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Nothing is sampled inside the block."""
        before, self._skip = self._skip, 2**62
        yield
        self._skip = before

    def offer(self, query: np.ndarray, found: np.ndarray, allowed: np.ndarray, past: Sequence[np.ndarray]) -> None:
        """Take the sampled ones among answered queries [B, D] with what was found [B, k], never waiting.

        `allowed` is [V] or [B, V], `past` the distinct items of each user.
        """
        with self._lock:
            rows = []
            while self._skip < len(query):
                rows.append(self._skip)
                self._skip += 1 + self._next()
            self._skip -= len(query)
        for row in rows:
            mask = allowed if allowed.ndim == 1 else allowed[row].copy()
            kind = NEW if len(past[row]) < FEW else KNOWN
            try:
                self._waiting.put_nowait(Sample(query[row].copy(), found[row].copy(), mask, kind))
            except queue.Full:
                with self._lock:
                    self._dropped += 1

    def replay(self, sample: Sample) -> float:
        """The share of the exact top k that was found, after taking it into the figures.

        An item counts as found when none of those that were missed is nearer: equals may stand for each other.
        """
        scores = np.where(self._held & sample.allowed, self._vectors @ sample.query, -np.inf)
        k = min(self.spec.k, len(sample.found), int(np.isfinite(scores).sum()))
        found = sample.found[:k][sample.found[:k] >= 0]
        if k == 0:
            return 1.0
        exact = np.argpartition(-scores, k - 1)[:k]
        exact = exact[np.argsort(-scores[exact], kind="stable")]
        recall = float((scores[found] >= scores[exact[-1]] - ROUNDING).sum()) / k
        cells = self._index.cells(self._vectors[found]) if len(found) else np.zeros(0, np.int64)
        with self._lock:
            queries, total = self._sums.get(sample.kind, (0, 0.0))
            self._sums[sample.kind] = queries + 1, total + recall
            for name, held in self._groups.items():
                np.add.at(self._counts[name], held[found], 1)
            np.add.at(self._counts[LISTS], cells, 1)
            self._lists.append((found, exact))
        return recall

    def audit(self) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of some items [n, D] as the index keeps them and as the release makes them; figures tell the share."""
        ids, stored = self._index.sample(AUDITED)
        known = ids < len(self._vectors)  # the release makes nothing of items that came after it
        stored, fresh = stored[known], self._vectors[ids[known]]
        self._stale = float((cosines(stored, fresh) < 1 - self._stale_beyond).mean()) if len(stored) else 0.0
        return stored, fresh

    def figures(self) -> Figures:
        with self._lock:
            return Figures(
                queries={kind: queries for kind, (queries, _) in self._sums.items()},
                recall={kind: total / queries for kind, (queries, total) in self._sums.items()},
                dropped=self._dropped,
                top_share={name: float(c.max() / c.sum()) for name, c in self._counts.items() if c.sum()},
                gini={
                    name: gini(torch.from_numpy(c), self._offered[name]) for name, c in self._counts.items() if c.sum()
                },
                stale_share=self._stale,
            )

    def lists(self) -> tuple[np.ndarray, np.ndarray]:
        """Found and exact item ids [Q, k] of the last queries, -1 where there are fewer."""
        with self._lock:
            held = list(self._lists)
        width = max((len(exact) for _, exact in held), default=0)
        sides = [np.full((len(held), width), -1, dtype=np.int64) for _ in range(2)]
        for row, pair in enumerate(held):
            for side, ids in zip(sides, pair, strict=True):
                side[row, : len(ids)] = ids
        return sides[0], sides[1]

    def _next(self) -> int:
        """Queries to pass over before the next one that is taken."""
        return int(self._random.geometric(self.spec.share)) - 1 if self.spec.share > 0 else 2**62

    def _run(self, told: Callable[[bool], None]) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # of this thread: requests go first
        self.audit()
        told(False)
        while (sample := self._waiting.get()) is not None:
            self.replay(sample)
            told(False)
        told(True)
