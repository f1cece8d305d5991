"""Vectors that are in memory already can be read like those that aren't."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recsys.fingerprint import array_sha256
from recsys.index.spec import Metric


class MemorySource:
    """Rows [n, D] float32 that were checked, under their numbers."""

    origin: Mapping[str, str] = {}
    half = None

    def __init__(self, rows: np.ndarray, metric: Metric) -> None:
        self._rows, self.dim = rows, rows.shape[1]
        self.metric: Metric = metric

    @property
    def fingerprint(self) -> str:
        return array_sha256(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows[start:stop]
        return np.arange(start, start + len(rows)), rows
