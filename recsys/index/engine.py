"""An engine finds places among vectors that were laid out once; ids, deletions and filters are its owner's business."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from recsys.index.exact import Hits


class Engine(Protocol):
    """Vectors at places 0 to n-1, searched by score: inner product, or minus the squared distance; more is nearer."""

    @property
    def dim(self) -> int: ...

    @property
    def lists(self) -> int: ...  # 1 of an engine that scans everything

    @property
    def probes(self) -> int: ...  # lists visited unless told otherwise

    def __len__(self) -> int: ...

    def search(
        self, queries: np.ndarray, k: int, *, probes: int | None = None, allowed: np.ndarray | None = None
    ) -> Hits:
        """The k nearest places of each query [B, D] float32 among the lists visited, best first; -1 where there are fewer.

        `allowed` is a mask [n] of booleans over places. With `probes` equal to `lists` every allowed place is a candidate.
        """
        ...

    def rows(self, places: np.ndarray) -> np.ndarray:
        """Vectors [m, D] float32 at these places, as exactly as they are kept."""
        ...

    def cells(self, vectors: np.ndarray) -> np.ndarray:
        """[m] int64 list that each vector [m, D] belongs to."""
        ...

    def save(self, folder: Path) -> None:
        """Write the engine's files into an existing folder."""
        ...
