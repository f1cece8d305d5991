"""Lists of all shards are joined into one file that a search maps: blocks of 32 codes as FastScan reads them, then places."""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from recsys.index.encoding import CODES, IDS, PLACES, ROWS, SIZES, TAIL
from recsys.index.shards import Shard

LISTS_FILE, ROWS_FILE, ORDER_FILE = "lists.bin", "rows.bin", "order.bin"
BLOCK = 32  # codes that one step of the scan looks at
ALIGN = 64
PLACE_BYTES = 8
SPAN = 4_000_000  # items joined at a time


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each list lies in lists.bin: its blocks, then its places as int64."""

    sizes: np.ndarray  # [L] int64
    code_size: int

    @property
    def capacities(self) -> np.ndarray:
        return -(-self.sizes // BLOCK) * BLOCK

    @property
    def offsets(self) -> np.ndarray:
        """[L + 1] bytes, each a multiple of a cache line."""
        held = self.capacities * (self.code_size + PLACE_BYTES)
        return np.concatenate([[0], np.cumsum(-(-held // ALIGN) * ALIGN)])

    @property
    def starts(self) -> np.ndarray:
        """[L + 1] place of each list's first item."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    def spans(self) -> list[tuple[int, int]]:
        """Ranges of lists of about SPAN items each."""
        total = int(self.starts[-1])
        ends = np.searchsorted(self.starts, np.arange(SPAN, total + SPAN, SPAN))
        cuts = np.unique(np.concatenate([[0], np.minimum(ends, len(self.sizes)), [len(self.sizes)]]))
        return [(int(first), int(last)) for first, last in zip(cuts[:-1], cuts[1:], strict=True)]


@dataclass(frozen=True, slots=True)
class Joining:
    """Spans of lists are joined independently: each writes its own bytes of files that have their size already."""

    shards_folder: Path
    shards: list[Shard]
    layout: Layout
    target: Path
    tail: bool

    @classmethod
    def of(cls, shards_folder: Path, shards: list[Shard], code_size: int, target: Path, tail: bool) -> Joining:
        sizes = sum(np.load(shards_folder / shard.name / SIZES, allow_pickle=False) for shard in shards)
        return cls(shards_folder, shards, Layout(np.asarray(sizes, np.int64), code_size), target, tail)

    def prepare(self, dim: int) -> None:
        """The files at their sizes. Raises OSError when the disk is too small, before anything is written."""
        total = int(self.layout.sizes.sum())
        np.save(self.target / SIZES, self.layout.sizes)
        _sized(self.target / IDS, np.int64, (total,))
        if self.tail:
            _sized(self.target / TAIL, np.float16, (total, dim))
        sizes = {LISTS_FILE: int(self.layout.offsets[-1]), ROWS_FILE: total * dim, ORDER_FILE: total * 4}
        for name, size in sizes.items():
            with (self.target / name).open("wb") as file:
                if size:
                    os.posix_fallocate(file.fileno(), 0, size)

    def __call__(self, span: tuple[int, int]) -> tuple[int, float]:
        """Join lists first to last; returns how many items they hold, and CPU seconds."""
        began, (first, last) = time.thread_time(), span
        starts, offsets = self.layout.starts, self.layout.offsets[first : last + 1]
        sizes, begin = self.layout.sizes[first:last], int(starts[first])
        blocks = np.zeros(int(offsets[-1] - offsets[0]), np.uint8)
        pack(self._joined(CODES, first, last), sizes, offsets - offsets[0], begin, blocks)
        self._write(LISTS_FILE, int(offsets[0]), blocks)
        rows = self._joined(ROWS, first, last)
        self._write(ROWS_FILE, begin * rows.shape[1], rows)
        self._write(ORDER_FILE, begin * 4, self._joined(PLACES, first, last).astype(np.uint32))
        for name, width in ((IDS, 8), *([(TAIL, 2 * rows.shape[1])] if self.tail else [])):
            header = (self.target / name).stat().st_size - int(starts[-1]) * width
            self._write(name, header + begin * width, self._joined(name, first, last))
        return len(rows), time.thread_time() - began

    def _joined(self, name: str, first: int, last: int) -> np.ndarray:
        """One array of all shards, list by list, in order of shard within each list."""
        sizes = self.layout.sizes[first:last]
        at = np.cumsum(sizes) - sizes
        joined: np.ndarray | None = None
        for shard in self.shards:
            folder = self.shards_folder / shard.name
            own = np.load(folder / SIZES, allow_pickle=False)
            begin, held = int(own[:first].sum()), np.load(folder / name, mmap_mode="r", allow_pickle=False)
            own = own[first:last]
            part = np.asarray(held[begin : begin + int(own.sum())])
            if joined is None:
                joined = np.empty((int(sizes.sum()), *held.shape[1:]), held.dtype)
            _deal(_bytes(part), own, _bytes(joined), at)
            at += own
        assert joined is not None
        return joined

    def _write(self, name: str, offset: int, held: np.ndarray) -> None:
        descriptor = os.open(self.target / name, os.O_WRONLY)
        try:
            view = np.ascontiguousarray(held).reshape(-1).view(np.uint8).data
            while len(view):
                written = os.pwrite(descriptor, view, offset)
                view, offset = view[written:], offset + written
        finally:
            os.close(descriptor)


def _sized(path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    """A .npy file whose rows are written later."""
    with path.open("wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size:
            os.posix_fallocate(file.fileno(), file.tell(), size)


def mapped(path: Path, dtype: type, shape: tuple[int, ...], scattered: bool = False) -> np.ndarray:
    """The rows of a file of nothing but them, one dimension of the shape being -1; a file without bytes can't be mapped.

    `scattered` rows are read without their neighbours: where memory is short, reading ahead would push out what is needed.
    """
    if not path.stat().st_size:
        return np.zeros([max(0, extent) for extent in shape], dtype)
    with path.open("rb") as file:
        held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if scattered and hasattr(mmap, "MADV_RANDOM"):
        held.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(held, dtype).reshape(shape)


def _bytes(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)


@njit(cache=True, nogil=True)
def _deal(part, sizes, joined, at):  # type: ignore[no-untyped-def]
    source = 0
    for group in range(len(sizes)):
        size = sizes[group]
        joined[at[group] : at[group] + size] = part[source : source + size]
        source += size


@njit(cache=True, nogil=True)
def _byte_of(item):  # type: ignore[no-untyped-def]
    half = item % 16
    return 2 * half if half < 8 else 2 * (half - 8) + 1


@njit(cache=True, nogil=True)
def unpack(blocks, sizes, offsets, codes):  # type: ignore[no-untyped-def]
    """The codes [n, M / 2] of lists that `pack` wrote."""
    at, width = 0, codes.shape[1]
    for group in range(len(sizes)):
        for item in range(sizes[group]):
            shift = 4 if item % 32 >= 16 else 0
            base = offsets[group] + item // 32 * 32 * width + _byte_of(item % 32)
            for pair in range(width):
                low, high = blocks[base + 32 * pair] >> shift & 15, blocks[base + 32 * pair + 16] >> shift & 15
                codes[at + item, pair] = low | high << 4
        at += sizes[group]


@njit(cache=True, nogil=True)
def pack(codes, sizes, offsets, first, blocks):  # type: ignore[no-untyped-def]
    """Codes [n, M / 2] and places `first` onwards as FastScan keeps them.

    A block of 32 items holds 32 bytes for each pair of parts: 16 of the even one, then 16 of the odd one. Byte j has
    item j/2 (j even) or 8 + j/2 in its low half and the item 16 further on in its high half (faiss, pq4_fast_scan).
    """
    width = codes.shape[1]
    at = 0
    for group in range(len(sizes)):
        size = sizes[group]
        capacity = (size + 31) // 32 * 32
        base = offsets[group]
        for block in range(capacity // 32):
            for item in range(min(32, size - block * 32)):
                row = codes[at + block * 32 + item]
                shift = 4 if item >= 16 else 0
                to = base + _byte_of(item)
                for pair in range(width):
                    blocks[to + 32 * pair] |= (row[pair] & 15) << shift
                    blocks[to + 32 * pair + 16] |= (row[pair] >> 4) << shift
            base += 32 * width
        places = blocks[base : base + 8 * size].view(np.int64)
        for item in range(size):
            places[item] = first + at + item
        at += size
