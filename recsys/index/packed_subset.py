"""Some places of a compressed index are one themselves: the same lists, with fewer items in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recsys.index.encoding import SIZES, TAIL
from recsys.index.packing import LISTS_FILE, ORDER_FILE, ROWS_FILE, Layout, mapped, pack, unpack

ROWS_AT_ONCE = 1_000_000


def write_subset(source: Path, layout: Layout, width: int, places: np.ndarray, target: Path) -> None:
    """Codes, rows and order of places [m], ascending, of the index in `source`, whose rows have `width` bytes."""
    own = np.searchsorted(layout.starts, places, side="right") - 1
    part = Layout(np.bincount(own, minlength=len(layout.sizes)).astype(np.int64), layout.code_size)
    np.save(target / SIZES, part.sizes)
    _write(target / LISTS_FILE, _lists(mapped(source / LISTS_FILE, np.uint8, (-1,)), layout, part, places))
    for name, dtype, shape in ((ROWS_FILE, np.uint8, (-1, width)), (ORDER_FILE, np.uint32, (-1,))):
        _write(target / name, _rows(mapped(source / name, dtype, shape), places))
    if (source / TAIL).is_file():
        tail = np.load(source / TAIL, mmap_mode="r", allow_pickle=False)
        held = np.lib.format.open_memmap(target / TAIL, mode="w+", dtype=tail.dtype, shape=(len(places), tail.shape[1]))
        for start, rows in zip(range(0, len(places), ROWS_AT_ONCE), _rows(tail, places), strict=True):
            held[start : start + len(rows)] = rows


def _lists(blocks: np.ndarray, layout: Layout, part: Layout, places: np.ndarray) -> Iterator[np.ndarray]:
    """The bytes of lists.bin, span by span."""
    starts, offsets, own = layout.starts, layout.offsets, part.offsets
    for first, last in layout.spans():
        span = slice(first, last)
        codes = np.empty((int(starts[last] - starts[first]), layout.code_size), np.uint8)
        unpack(
            blocks[offsets[first] : offsets[last]],
            layout.sizes[span],
            offsets[first : last + 1] - offsets[first],
            codes,
        )
        begin, end = np.searchsorted(places, [starts[first], starts[last]])
        packed = np.zeros(int(own[last] - own[first]), np.uint8)
        kept = codes[places[begin:end] - starts[first]]
        pack(kept, part.sizes[span], own[first : last + 1] - own[first], int(begin), packed)
        yield packed


def _rows(rows: np.ndarray, places: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(places), ROWS_AT_ONCE):
        yield rows[places[start : start + ROWS_AT_ONCE]]


def _write(path: Path, parts: Iterator[np.ndarray]) -> None:
    with path.open("wb") as file:
        for part in parts:
            file.write(np.ascontiguousarray(part).data)
