"""What requests wait for at an endpoint of one worker, from the arithmetic that its encoder takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recsys.encoders.query import QueryEncoder
from recsys.encoders.query_cache import QueryCache
from recsys.random import rng
from recsys.value import require, value


@dataclass(frozen=True, slots=True)
class Served:
    """Milliseconds of each request's spans, and what was known of it."""

    spans: dict[str, np.ndarray]  # tokenise, encode, search, network, queue -> [R]
    tokens: np.ndarray  # [R] int64 of its query
    padded: np.ndarray  # [R] int64 that were computed
    hit: np.ndarray  # [R] bool
    repeated: np.ndarray  # [R] bool, its query was typed before
    multiply_adds: np.ndarray  # [R] of its encoding

    @property
    def total(self) -> np.ndarray:
        return np.sum(list(self.spans.values()), axis=0)

    def summary(self) -> dict[str, float]:
        """Late requests count, not average ones; a cache helps the average first."""
        total = self.total
        return {
            "p50_ms": float(np.median(total)),
            "p99_ms": float(np.quantile(total, 0.99)),
            "multiply_adds": float(self.multiply_adds.mean()),
            "multiply_adds_p99": float(np.quantile(self.multiply_adds, 0.99)),
            "hit_rate": float(self.hit.mean()),
        }


@value
class Endpoint:
    """One worker takes requests in the order of their arrival; they come at random (Lindley, 1952).

    Simulated, so that a claim on it doesn't hang on a machine: the encoder's time is its multiply-adds over `speed`.
    bench/query_encoder.py measures a real one.
    """

    budget_ms: float = 10.0
    speed: float = 75_000.0  # multiply-adds a millisecond
    tokenise_ms: float = 0.2
    search_ms: float = 1.0
    network_ms: float = 0.8
    jitter: float = 0.15  # of the logarithm of each span
    interval_ms: float = 40.0  # mean time between requests
    pad_to: int | None = None  # None: the query's own length
    cache: int = 0  # entries
    rollover: int | None = None  # requests after which the cache's version changes; None: never

    def __post_init__(self) -> None:
        require(self.interval_ms > 0, f"interval_ms must be positive, got {self.interval_ms}")
        require(self.speed > 0, f"speed must be positive, got {self.speed}")

    def __call__(self, queries: Tensor, traffic: Tensor, encoder: QueryEncoder, dim: int, seed: int) -> Served:
        """queries [H, L] padded tokens, traffic [R] which of them each request types."""
        tokens = (queries != 0).sum(1)[traffic].numpy()
        padded = np.full_like(tokens, self.pad_to) if self.pad_to else tokens
        hit, repeated = self._hits(queries, traffic)
        cost = {int(length): encoder.multiply_adds(int(length), dim) for length in np.unique(padded)}
        spent = np.array([cost[int(length)] for length in padded]) * ~hit
        spans = {
            "tokenise": np.full(len(tokens), self.tokenise_ms),
            "encode": spent / self.speed,
            "search": np.full(len(tokens), self.search_ms),
            "network": np.full(len(tokens), self.network_ms),
        }
        spans = {
            name: held * np.exp(self.jitter * rng(seed, "jitter", name).standard_normal(len(held)))
            for name, held in spans.items()
        }
        busy = spans["tokenise"] + spans["encode"] + spans["search"]
        gaps = rng(seed, "arrivals").exponential(self.interval_ms, len(busy))
        return Served(spans | {"queue": waits(busy, gaps)}, tokens, padded, hit, repeated, spent)

    def _hits(self, queries: Tensor, traffic: Tensor) -> tuple[np.ndarray, np.ndarray]:
        cache, seen = QueryCache(self.cache, version="0") if self.cache else None, set()
        hit, repeated = np.zeros(len(traffic), dtype=bool), np.zeros(len(traffic), dtype=bool)
        texts, nothing = [" ".join(map(str, row)) for row in queries.tolist()], torch.empty(0)
        for request, typed in enumerate(traffic.tolist()):
            repeated[request] = typed in seen
            seen.add(typed)
            if cache is None:
                continue
            if self.rollover and request % self.rollover == 0:
                cache.version = str(request)
            hit[request] = cache.get(texts[typed], request) is not None
            if not hit[request]:
                cache.put(texts[typed], nothing, request)
        return hit, repeated


def waits(busy: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """[R] time in the queue: what the one before waited and took, less the time between them, never below 0."""
    found = np.zeros(len(busy))
    for request in range(1, len(busy)):
        found[request] = max(0.0, found[request - 1] + busy[request - 1] - gaps[request])
    return found
