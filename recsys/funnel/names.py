"""Names by the million are bytes in a mapped file, which the system may take back, and an index of hashes over them."""

# pyarrow's stubs don't know what buffers are made of
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from recsys.storage import mapped

ROWS = 65_536  # of a Parquet file that are read at a time
BASIS, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


class Strings(Sequence[str]):
    """The strings of a Parquet column, in order; null is the empty string."""

    def __init__(self, path: Path, column: str) -> None:
        """The buffers go to a file without a name below TMPDIR, so they end with the process."""
        with TemporaryFile() as data, TemporaryFile() as starts:
            end = 0
            starts.write(np.zeros(1, np.int64).data)
            for batch in pq.ParquetFile(path).iter_batches(ROWS, columns=[column]):
                array = batch.column(0).cast(pa.large_string()).fill_null("")
                own = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
                if own[-1] > own[0]:
                    data.write(memoryview(array.buffers()[2])[own[0] : own[-1]])
                starts.write(np.ascontiguousarray(own[1:] - own[0] + end).data)
                end += int(own[-1] - own[0])
            self.data, self.starts = mapped(data, np.uint8), mapped(starts, np.int64)
        buffers = [None, pa.py_buffer(self.starts), pa.py_buffer(self.data)]
        self._array: Any = pa.Array.from_buffers(pa.large_string(), len(self), buffers)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        held = self._array[at]
        return held.to_pylist() if isinstance(at, slice) else held.as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), ROWS):
            yield from self[start : start + ROWS]


class Places(Mapping[str, int]):
    """Where each of some strings stands, from `first` on; they differ from each other."""

    def __init__(self, strings: Strings, first: int) -> None:
        self._strings, self._first = strings, min(first, len(strings))
        hashes = np.empty(len(strings) - self._first, np.uint64)
        _hash_all(strings.data, strings.starts[self._first :], hashes)
        self._order = np.argsort(hashes, kind="stable").astype(np.uint32)
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self._hashes)

    def __iter__(self) -> Iterator[str]:
        return (self._strings[at] for at in range(self._first, len(self._strings)))

    def __getitem__(self, name: str) -> int:
        if isinstance(name, str):
            told = np.frombuffer(name.encode(), np.uint8)
            hashed, strings = np.uint64(_hash(told, 0, len(told))), self._strings
            at = int(np.searchsorted(self._hashes, hashed))
            while at < len(self) and self._hashes[at] == hashed:
                place = self._first + int(self._order[at])
                if strings[place] == name:
                    return place
                at += 1
        raise KeyError(name)


@njit(cache=True, nogil=True)
def _hash(data, start, stop):  # type: ignore[no-untyped-def]
    """FNV-1a, 64 bits."""
    held = BASIS
    for at in range(start, stop):
        held = (held ^ np.uint64(data[at])) * PRIME
    return held


@njit(cache=True, nogil=True)
def _hash_all(data, starts, hashes):  # type: ignore[no-untyped-def]
    for row in range(len(hashes)):
        hashes[row] = _hash(data, starts[row], starts[row + 1])
