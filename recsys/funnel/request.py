"""A request says who asks, when and for how many items; the answer says what, why that score, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from recsys.funnel.ladder import POPULAR
from recsys.value import require, value

MAX_K = 200


@value
class FunnelSpec:
    """How wide each stage of the funnel is, and what a score is made of."""

    index_candidates: int = 200
    popular_candidates: int = 100
    popular_window_days: float = 28.0
    own_history: int = 200  # items of the user's own past, most frequent first
    weights: dict[str, float] = field(default_factory=lambda: {"engage": 1.0})
    mmr_lambda: float = 0.05  # share of the rerank score that is paid for likeness to items already chosen; 0 is off
    mmr_depth: int = 100
    hide_seen: bool = False
    as_of: int | None = None  # seconds since 1970; None: the end of the data set
    reduced_share: float = 0.25  # of every candidate list, kept when time is short

    def __post_init__(self) -> None:
        for name in ("index_candidates", "popular_candidates", "own_history"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, got {getattr(self, name)}")
        require(self.index_candidates >= 1, "index_candidates must be at least 1: without it new items are never found")
        require(self.popular_window_days > 0, f"popular_window_days must be positive, got {self.popular_window_days}")
        require(0 <= self.mmr_lambda < 1, f"mmr_lambda must be in [0, 1), got {self.mmr_lambda}")
        require(self.mmr_depth >= 1, f"mmr_depth must be at least 1, got {self.mmr_depth}")
        require(0 < self.reduced_share <= 1, f"reduced_share must be in (0, 1], got {self.reduced_share}")
        require(all(map(math.isfinite, self.weights.values())), f"weights must be finite, got {self.weights}")


@dataclass(frozen=True, slots=True)
class RecommendRequest:
    """One person's request; ids are the data set's own strings. None or an unknown user asks as anybody."""

    user_id: str | None
    k: int = 20
    surface: str | None = None
    exclude: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None  # of tasks; None: those of the funnel
    hide_seen: bool | None = None  # None: as the funnel says
    time: int | None = None  # seconds since 1970; None: the funnel's as_of
    deadline_ms: float | None = None  # from arrival to answer
    arrived: float | None = None  # time.perf_counter() at arrival; None: when the funnel takes it up

    def __post_init__(self) -> None:
        require(1 <= self.k <= MAX_K, f"k must be from 1 to {MAX_K}, got {self.k}")
        require(
            self.deadline_ms is None or self.deadline_ms > 0, f"deadline_ms must be positive, got {self.deadline_ms}"
        )


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Items best first. A popular list has no task scores; its score is the number of events in the window."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    task_scores: Mapping[str, tuple[float, ...]]
    texts: tuple[str, ...]
    source: Literal["personal", "popular"]
    degraded: tuple[str, ...]  # what was left out to be in time, and what of the request wasn't known
    timings_ms: Mapping[str, float]  # by stage, of the batch that the request was answered in
    versions: Mapping[str, str]  # of the release that every item and score of the answer is from


@dataclass(frozen=True, slots=True)
class Asked:
    """Requests as arrays of equal length B; indices as in the vocabulary."""

    user: np.ndarray  # [B] int64, UNKNOWN for anybody
    time: np.ndarray  # [B] int64 seconds
    surface: np.ndarray  # [B] int64, PADDING where none was told
    k: np.ndarray  # [B] int64
    hide_seen: np.ndarray  # [B] bool
    weights: np.ndarray  # [B, T] float64
    exclude: tuple[np.ndarray, ...]  # B arrays of item indices
    due: np.ndarray  # [B] float64, time.perf_counter() by which the answer must be there; inf for no deadline

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> Asked:
        return Asked(
            user=self.user[rows],
            time=self.time[rows],
            surface=self.surface[rows],
            k=self.k[rows],
            hide_seen=self.hide_seen[rows],
            weights=self.weights[rows],
            exclude=tuple(self.exclude[row] for row in rows),
            due=self.due[rows],
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """Answers as arrays; places beyond what was found have id -1 and score -inf."""

    ids: np.ndarray  # [B, K] int64
    scores: np.ndarray  # [B, K] float64
    task_scores: np.ndarray  # [B, K, T] float32; NaN for popular lists
    rung: np.ndarray  # [B], of the ladder of degradation
    known: np.ndarray  # [B] bool, whether the data set knows the user
    timings_ms: dict[str, float]

    @property
    def personal(self) -> np.ndarray:
        """[B]: whether the list was ranked for this user."""
        return self.known & (self.rung != POPULAR)
