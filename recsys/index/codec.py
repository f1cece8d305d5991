"""A residual of 4 bits a coordinate is enough to choose candidates by, and of 8 bits to rank them by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numba import njit

from recsys.index.faiss_parts import faiss
from recsys.value import require

LEVELS = 16
TRAIN_ROWS = 65_536
LLOYD_ROUNDS = 200
BLOCK = 2048  # rows encoded while their residuals are in the cache
MARGIN = 0.25  # of the span, for what the sample lacks
CLIPS = (3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 8.0)  # standard deviations that the bytes may span


@dataclass(frozen=True, slots=True)
class Codec:
    """Product quantisation of residuals at 4 bits a part, and bytes on a scale of each dimension."""

    centres: np.ndarray  # [M, 16, D / M] float32; with one dimension a part, ascending
    offset: np.ndarray  # [D] float32 residual that byte 0 stands for
    scale: np.ndarray  # [D] float32 a step of the bytes
    spread: np.ndarray  # [L] float32: bytes of a list hold residuals over this, so that dense lists have finer steps

    @classmethod
    def train(cls, residuals: np.ndarray, spread: np.ndarray, own: np.ndarray, parts: int, even: bool = True) -> Self:
        """From residuals [n, D] float32 of the lists [n] that rows are added to. D must be a multiple of `parts`.

        `even`: errors of all vectors count alike. Under an inner product those of the largest norm are what is found, and
        bytes must span them, too.
        """
        dim = residuals.shape[1]
        require(
            parts % 2 == 0 and dim % parts == 0,
            f"codes have {parts} parts, which must be even and divide the {dim} dimensions",
        )
        every = max(1, len(residuals) // TRAIN_ROWS)
        rows = residuals[::every]
        even_rows = rows / spread[own[::every], None]
        width = dim // parts
        centres = _levels(rows) if width == 1 else _parts(rows, parts)
        return cls(centres, *(_least_error(even_rows) if even else _whole_span(even_rows)), spread)

    @property
    def parts(self) -> int:
        return len(self.centres)

    @property
    def code_size(self) -> int:
        return self.parts // 2

    def encode(self, rows: np.ndarray, centres: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes [n, M / 2] and bytes [n, D], both uint8, of rows [n, D] minus the centres [L, D] that they belong to [n]."""
        codes = np.empty((len(rows), self.code_size), np.uint8)
        exact = np.empty(rows.shape, np.uint8)
        width = self.centres.shape[2]
        bounds = (self.centres[:, 1:, 0] + self.centres[:, :-1, 0]).T / 2  # [15, D] where width is 1
        bounds = np.ascontiguousarray(bounds, np.float32)
        for start in range(0, len(rows), BLOCK):
            part = slice(start, start + BLOCK)
            residuals = rows[part] - centres[own[part]]
            _to_bytes(
                residuals, np.float32(1) / self.spread[own[part]], self.offset, np.float32(1) / self.scale, exact[part]
            )
            if width == 1:
                _by_bounds(residuals, bounds, codes[part])
            else:
                _by_distance(residuals, self.centres, codes[part])
        return codes, exact

    def save(self, folder: Path) -> None:
        np.savez(folder / "codec.npz", centres=self.centres, offset=self.offset, scale=self.scale, spread=self.spread)

    @classmethod
    def load(cls, folder: Path) -> Self:
        with np.load(folder / "codec.npz", allow_pickle=False) as held:
            return cls(held["centres"], held["offset"], held["scale"], held["spread"])


def spreads(residuals: np.ndarray, own: np.ndarray, lists: int) -> np.ndarray:
    """[lists] float32 root mean square of a list's residuals [n, D], as if one of them were as large as all are on average."""
    squares = np.einsum("nd,nd->n", residuals, residuals) / residuals.shape[1]
    held = (np.bincount(own, squares, lists) + squares.mean()) / (np.bincount(own, minlength=lists) + 1)
    return np.sqrt(np.maximum(held, 1e-12)).astype(np.float32)


def _levels(rows: np.ndarray) -> np.ndarray:
    """[D, 16, 1] levels of least squared error in each dimension (Lloyd, 1957), ascending."""
    ordered = np.sort(rows, axis=0)
    total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(ordered, axis=0, dtype=np.float64)])
    found = np.empty((rows.shape[1], LEVELS, 1), np.float32)
    for dim in range(rows.shape[1]):
        column, sums = ordered[:, dim], total[:, dim]
        levels = np.quantile(column, (np.arange(LEVELS) + 0.5) / LEVELS)
        for _ in range(LLOYD_ROUNDS):
            edges = np.searchsorted(column, (levels[1:] + levels[:-1]) / 2)
            edges = np.concatenate([[0], edges, [len(column)]])
            counts = np.diff(edges)
            levels = np.where(counts > 0, np.diff(sums[edges]) / np.maximum(counts, 1), levels)
        found[dim, :, 0] = np.sort(levels)
    return found


def _parts(rows: np.ndarray, parts: int) -> np.ndarray:
    quantiser = faiss.ProductQuantizer(rows.shape[1], parts, 4)
    quantiser.cp.max_points_per_centroid, quantiser.cp.min_points_per_centroid = 1024, 1
    faiss.omp_set_num_threads(1)  # the order of its sums, and so its bits, depends on the number of threads
    quantiser.train(np.ascontiguousarray(rows))
    return faiss.vector_to_array(quantiser.centroids).reshape(parts, LEVELS, -1).copy()


def _least_error(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offset and step of least squared error for each dimension, among spans of some standard deviations."""
    mean = rows.mean(0)
    spread = np.maximum(rows.std(0), np.float32(1e-9))
    best, error = np.zeros(rows.shape[1]), np.full(rows.shape[1], np.inf)
    for clip in CLIPS:
        step = 2 * clip * spread / 255
        low = mean - clip * spread
        held = np.clip(np.round((rows - low) / step), 0, 255) * step + low
        off = ((held - rows) ** 2).mean(0)
        best, error = np.where(off < error, clip, best), np.minimum(off, error)
    return (mean - best * spread).astype(np.float32), (2 * best * spread / 255).astype(np.float32)


def _whole_span(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = rows.min(0), rows.max(0)
    margin = MARGIN * np.maximum(high - low, np.float32(1e-9))
    return (low - margin).astype(np.float32), ((high - low + 2 * margin) / 255).astype(np.float32)


@njit(cache=True, nogil=True, fastmath={"nnan"})
def _to_bytes(residuals, narrow, offset, inverse, out):  # type: ignore[no-untyped-def]
    half, top = np.float32(0.5), np.float32(255)
    for row in range(residuals.shape[0]):
        for dim in range(residuals.shape[1]):
            level = (residuals[row, dim] * narrow[row] - offset[dim]) * inverse[dim] + half
            out[row, dim] = np.uint8(np.int32(min(max(level, np.float32(0)), top)))


@njit(cache=True, nogil=True)
def _by_bounds(residuals, bounds, codes):  # type: ignore[no-untyped-def]
    """One dimension a part: the level is the number of bounds below the value."""
    dim = residuals.shape[1]
    level = np.empty(dim, np.int32)
    for row in range(residuals.shape[0]):
        level[:] = 0
        for bound in range(bounds.shape[0]):
            for at in range(dim):
                level[at] += np.int32(residuals[row, at] > bounds[bound, at])
        for at in range(dim // 2):
            codes[row, at] = np.uint8(level[2 * at] | (level[2 * at + 1] << 4))


@njit(cache=True, nogil=True)
def _by_distance(residuals, centres, codes):  # type: ignore[no-untyped-def]
    parts, count, width = centres.shape
    for row in range(residuals.shape[0]):
        for part in range(parts):
            best, level = np.float32(np.inf), 0
            for at in range(count):
                distance = np.float32(0)
                for dim in range(width):
                    gap = residuals[row, part * width + dim] - centres[part, at, dim]
                    distance += gap * gap
                if distance < best:
                    best, level = distance, at
            if part % 2:
                codes[row, part // 2] |= np.uint8(level << 4)
            else:
                codes[row, part // 2] = np.uint8(level)
