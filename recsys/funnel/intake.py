"""What people send is checked and translated once, at the border; inside there are only indices."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import numpy as np

from recsys.data.spec import PADDING, UNKNOWN, DatasetSpec
from recsys.funnel.records import Directory
from recsys.funnel.request import Asked, FunnelSpec, RecommendRequest
from recsys.value import require

UNKNOWN_SURFACE = "unknown_surface"


class Intake:
    """Requests with the data set's ids become arrays of indices."""

    def __init__(self, directory: Directory, dataset: DatasetSpec, spec: FunnelSpec) -> None:
        self.directory = directory
        self.tasks = tuple(task.name for task in dataset.tasks)
        self.as_of = spec.as_of if spec.as_of is not None else dataset.end
        self.hide_seen = spec.hide_seen
        self.weights = self.weights_of(spec.weights)

    def weights_of(self, weights: Mapping[str, float]) -> np.ndarray:
        """[T]: the weight of each task, 0 where none is given. Raises ValueError for names that aren't tasks."""
        unknown = sorted(set(weights) - set(self.tasks))
        require(not unknown, f"weights name unknown tasks {unknown}; the tasks are {list(self.tasks)}")
        require(all(map(math.isfinite, weights.values())), f"weights must be finite, got {dict(weights)}")
        return np.array([weights.get(task, 0.0) for task in self.tasks])

    def __call__(self, requests: Sequence[RecommendRequest]) -> Asked:
        now, known = time.perf_counter(), self.directory
        return Asked(
            user=np.array([known.users.get(request.user_id or "", UNKNOWN) for request in requests], dtype=np.int64),
            time=np.array([self.as_of if r.time is None else r.time for r in requests], dtype=np.int64),
            surface=np.array([self._surface(request) for request in requests], dtype=np.int64),
            k=np.array([request.k for request in requests], dtype=np.int64),
            hide_seen=np.array([self.hide_seen if r.hide_seen is None else r.hide_seen for r in requests], dtype=bool),
            weights=np.array([self._weights(request) for request in requests]).reshape(-1, len(self.tasks)),
            exclude=tuple(self._excluded(request) for request in requests),
            due=np.array([_due(request, now) for request in requests]),
        )

    def of_indices(self, user: np.ndarray, times: np.ndarray, k: int, hide_seen: bool) -> Asked:
        """Known users at known times: the requests of an evaluation."""
        size = len(user)
        return Asked(
            user=user.astype(np.int64),
            time=times.astype(np.int64),
            surface=np.full(size, PADDING, dtype=np.int64),
            k=np.full(size, k, dtype=np.int64),
            hide_seen=np.full(size, hide_seen),
            weights=np.tile(self.weights, (size, 1)),
            exclude=(np.zeros(0, dtype=np.int64),) * size,
            due=np.full(size, np.inf),
        )

    def notes(self, request: RecommendRequest) -> tuple[str, ...]:
        """What of the request the data set doesn't know, apart from the user."""
        strange = request.surface is not None and request.surface not in self.directory.surfaces
        return (UNKNOWN_SURFACE,) if strange else ()

    def _surface(self, request: RecommendRequest) -> int:
        return PADDING if request.surface is None else self.directory.surfaces.get(request.surface, UNKNOWN)

    def _weights(self, request: RecommendRequest) -> np.ndarray:
        return self.weights if request.weights is None else self.weights_of(request.weights)

    def _excluded(self, request: RecommendRequest) -> np.ndarray:
        items = self.directory.items
        return np.array([items[name] for name in request.exclude if name in items], dtype=np.int64)


def _due(request: RecommendRequest, now: float) -> float:
    arrived = now if request.arrived is None else request.arrived
    return math.inf if request.deadline_ms is None else arrived + request.deadline_ms / 1000
