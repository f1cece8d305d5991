"""What makes a query late, and what makes a smaller encoder worse: before anything is distilled, look at the spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row
from recsys.value import value

SERVED = ("tokenise", "encode", "search", "network")
LATE = 0.98  # requests from this quantile of the time of service on are the slowest
CAUSES = {
    "queueing": "requests wait for a worker: more workers, batching, or shedding load",
    "tokenizer": "the tokeniser, not the encoder: a compiled one, or shorter texts",
    "slow_index": "the search, not the encoder: fewer probes, or a smaller index",
    "network": "neither tokens nor vectors: where the caller stands",
    "padding": "positions are computed that hold nothing: buckets of lengths, no fixed length",
    "cold_cache": "queries typed before are encoded again: version, capacity or time to live of the cache",
    "encoder_compute": "the encoder's arithmetic: fewer layers, distilled",
    "student_capacity": "the student can't say what the teacher says, even of queries that it was trained on",
    "student_data": "the student says it of queries that it was trained on, and not of others: more unlabelled queries",
}


@dataclass(frozen=True)
class Spans(Part):
    """Milliseconds of each request, as an endpoint's metrics have them; columns of the same length [R]."""

    queue: np.ndarray
    tokenise: np.ndarray
    encode: np.ndarray
    search: np.ndarray
    network: np.ndarray
    tokens: np.ndarray  # of the query
    padded: np.ndarray  # positions that were computed for it
    hit: np.ndarray  # 1 where a cache answered; all 0 without one
    repeated: np.ndarray  # 1 where the same query came before
    budget_ms: float


@dataclass(frozen=True)
class Agreement(Part):
    """Share of the teacher's first 20 items that are among the student's: of a query's list, averaged."""

    trained: float  # queries that the student was trained on
    fresh: float  # others of the same traffic
    fresh_order: float  # of those, queries whose tokens reversed the teacher answers otherwise
    fresh_plain: float  # the rest


@value
class EncoderMigration:
    """The slowest requests are explained by the span that takes most of them; where nothing is late, agreement is looked at.

    `most` is a majority; the others lie between healthy and faulty settings of development seeds (p22's notes).
    """

    most: float = 0.5  # of the service of the slowest requests
    filled: float = 0.6  # of computed positions, below which padding is the waste
    unused: float = 0.3  # repeats that weren't answered by a cache that answers at all
    agreement: float = 0.6
    forgotten: float = 0.12  # by which agreement falls from trained to fresh queries
    needs: ClassVar[tuple[type[Part], ...]] = (Spans,)
    causes: ClassVar[tuple[str, ...]] = tuple(CAUSES)

    def __call__(self, evidence: Evidence) -> Diagnosis:
        spans, agreement = evidence.get(Spans), evidence.find(Agreement)
        served = np.sum([getattr(spans, name) for name in SERVED], axis=0)
        p99, unqueued = (float(np.quantile(held, 0.99)) for held in (served + spans.queue, served))
        late = served >= np.quantile(served, LATE)
        share = {name: float(getattr(spans, name)[late].sum() / served[late].sum()) for name in SERVED}
        rows = [
            Row("p99, ms", p99, spans.budget_ms, "above: too late"),
            Row("p99 without the queue, ms", unqueued, spans.budget_ms, "below, where p99 isn't: queueing"),
            Row("p99 over p50", p99 / float(np.median(served + spans.queue))),
            *(Row(f"{name}'s share of the slowest to serve", held, self.most) for name, held in share.items()),
            Row("share of computed positions that hold a token", _filled(spans), self.filled, "below: padding"),
            Row("share of repeats that no cache answered", _unused(spans), self.unused, "above, with a cache: cold"),
        ]
        if p99 > spans.budget_ms:
            cause = self._late(spans, share, unqueued)
        elif agreement is None:
            cause = HEALTHY
        else:
            rows += self._agreed(agreement)
            cause = self._worse(agreement)
        scores = dict.fromkeys(CAUSES, 0.0) | ({cause: 1.0} if cause in CAUSES else {})
        if cause == ABSTAIN:
            return Diagnosis(
                ABSTAIN, scores, tuple(rows), "leave out one span at a time: which one brings p99 below the budget?"
            )
        rejected = {name: why for name, why in self._rejected(share, cause).items() if name != cause}
        return Diagnosis(cause, scores, tuple(rows), rejected=rejected)

    def _late(self, spans: Spans, share: Mapping[str, float], p99: float) -> str:
        """A queue is a cause only where requests would be in time without it: what is slow to serve makes queues, too."""
        if p99 <= spans.budget_ms:
            return "queueing"
        largest = max(share, key=lambda name: share[name])
        if share[largest] < self.most:
            return ABSTAIN
        if largest != "encode":
            return {"tokenise": "tokenizer", "search": "slow_index", "network": "network"}[largest]
        if _filled(spans) < self.filled:
            return "padding"
        return "cold_cache" if spans.hit.any() and _unused(spans) > self.unused else "encoder_compute"

    def _worse(self, held: Agreement) -> str:
        if held.fresh >= self.agreement:
            return HEALTHY
        return "student_data" if held.trained - held.fresh > self.forgotten else "student_capacity"

    def _agreed(self, held: Agreement) -> list[Row]:
        return [
            Row("agreement with the teacher, fresh queries", held.fresh, self.agreement, "below: a worse student"),
            Row("agreement lost from trained to fresh", held.trained - held.fresh, self.forgotten, "above: data"),
            Row("agreement lost from plain to order-sensitive", held.fresh_plain - held.fresh_order),
        ]

    def _rejected(self, share: Mapping[str, float], cause: str) -> dict[str, str]:
        spans = {"tokenizer": "tokenise", "slow_index": "search", "network": "network", "encoder_compute": "encode"}
        why = {name: f"takes {share[span]:.0%} of the slowest requests' service" for name, span in spans.items()}
        return {name: why.get(name, f"{cause} was found first") for name in CAUSES}


def _filled(spans: Spans) -> float:
    return float(spans.tokens.sum() / max(1, spans.padded.sum()))


def _unused(spans: Spans) -> float:
    """Of the second half of the requests: a cache that fills has no hits at first."""
    half = len(spans.hit) // 2
    repeated = spans.repeated[half:].astype(bool)
    return float(1 - spans.hit[half:][repeated].mean()) if repeated.any() else 0.0
