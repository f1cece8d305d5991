"""Vectors that are too many for memory are read by range, from wherever they lie."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.parquet as pq

from recsys.artefact import Artefact, ArtefactError, opened, peek
from recsys.data.spec import FIRST
from recsys.fingerprint import fingerprint_of
from recsys.index import item_vectors
from recsys.index.checks import checked_ids, checked_vectors
from recsys.index.spec import Metric
from recsys.value import require

VECTORS, VECTORS_FILE, IDS_FILE = "vectors", "vectors.npy", "ids.npy"


class Source(Protocol):
    """Vectors at rows 0 to n-1, with the id of each; read again, a range gives the same bytes."""

    metric: Metric

    @property
    def dim(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def origin(self) -> Mapping[str, str]:
        """Checkpoint and model that made the vectors; nothing where that isn't known."""
        ...

    @property
    def half(self) -> Path | None:
        """The .npy file that holds the rows as float16 in this order, if there is one."""
        ...

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [m] int64 and vectors [m, D] float32 of rows start to stop. Raises ValueError naming a bad row."""
        ...


class MatrixSource:
    """A .npy file of float16 or float32 [n, D]; its ids are the row numbers, or ids.npy beside it."""

    origin: Mapping[str, str] = {}

    def __init__(self, path: Path, metric: Metric, ids: Path | None = None, made_from: str | None = None) -> None:
        self.path, self.ids_path = path, ids
        self.metric: Metric = metric
        require(path.is_file(), f"{path} isn't there: give a .npy file, a folder of jobs.vectors, or item_vectors")
        held = self._rows
        require(
            held.ndim == 2 and held.shape[1] > 0 and held.dtype in (np.float16, np.float32),
            f"{path} must be [n, D] of float16 or float32, got {held.dtype} {held.shape}",
        )
        stat = path.stat()
        self.fingerprint = made_from or fingerprint_of(str(path.resolve()), stat.st_size, stat.st_mtime_ns)
        if ids is not None:
            checked_ids(np.load(ids, mmap_mode="r", allow_pickle=False), len(held))

    def __getstate__(self) -> dict[str, object]:
        return {key: held for key, held in self.__dict__.items() if key not in ("_rows", "_ids")}  # mapped anew

    @cached_property
    def _rows(self) -> np.ndarray:
        return np.load(self.path, mmap_mode="r", allow_pickle=False)

    @cached_property
    def _ids(self) -> np.ndarray | None:
        return None if self.ids_path is None else np.load(self.ids_path, mmap_mode="r", allow_pickle=False)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dim(self) -> int:
        return self._rows.shape[1]

    @property
    def half(self) -> Path | None:
        return self.path if self._rows.dtype == np.float16 else None

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self._rows[start:stop].astype(np.float32)
        ids = np.arange(start, start + len(rows)) if self._ids is None else self._ids[start:stop].astype(np.int64)
        return ids, checked_vectors(rows, str(self.path), self.metric, start)


class ParquetSource:
    """The parts of an item_vectors artefact, without what stands for padding and unknown items."""

    half = None

    def __init__(self, artefact: Artefact, metric: Metric) -> None:
        self.parts = sorted(artefact.path.glob("part-*.parquet"))
        if not self.parts:
            raise ArtefactError(f"{artefact.path} holds no part-*.parquet: make it again with jobs.embed")
        self.origin = {name: artefact.meta[name] for name in ("checkpoint", "model")}
        self.metric: Metric = metric
        self.fingerprint, self.dim = artefact.fingerprint, int(artefact.meta["dim"])
        self._starts = [0]
        for part in self.parts:
            self._starts.append(self._starts[-1] + pq.ParquetFile(part).metadata.num_rows)
        first = pq.read_table(self.parts[0], columns=["item"])["item"].to_numpy()
        self._skip = int(np.count_nonzero(first < FIRST))  # items are in ascending order

    def __len__(self) -> int:
        return self._starts[-1] - self._skip

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        ids, rows = [np.zeros(0, np.int64)], [np.zeros((0, self.dim), np.float32)]
        at, end = start + self._skip, min(stop, len(self)) + self._skip
        while at < end:
            part = bisect_right(self._starts, at) - 1
            base, until = self._starts[part], min(end, self._starts[part + 1])
            table = pq.read_table(self.parts[part], columns=["item", "vector"]).slice(at - base, until - at)
            ids.append(table["item"].to_numpy().astype(np.int64))
            rows.append(item_vectors.matrix(table["vector"]))
            at = until
        vectors = np.concatenate(rows)
        return np.concatenate(ids), checked_vectors(vectors, str(self.parts[0].parent), self.metric, start)


def opened_source(uri: str | Path, metric: Metric) -> Source:
    """The vectors at a path: a .npy file, a folder that jobs.vectors wrote, or an item_vectors artefact.

    Raises ArtefactError or ValueError when there are none.
    """
    if str(uri).endswith(".npy"):
        path = Path(uri)
        ids = path.with_name(IDS_FILE)
        return MatrixSource(path, metric, ids if ids.is_file() else None)
    if peek(uri, item_vectors.KIND):
        return ParquetSource(opened(uri, item_vectors.KIND), metric)
    made = opened(uri, VECTORS, verify=False)  # rows are checked as they are read
    return MatrixSource(made.path / VECTORS_FILE, metric, made_from=made.fingerprint)
