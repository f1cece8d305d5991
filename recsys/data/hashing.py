"""A string hashes to the same bucket on every machine, and a catalogue's strings are made a block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

BLOCK = 1 << 16  # strings there at once: one an item would be ten gigabytes at a hundred million


def stable_hash(values: Sequence[str] | pa.Array | pa.ChunkedArray, buckets: int, salt: int) -> np.ndarray:
    """xxh3 of each string's UTF-8 modulo `buckets`, [n] int64: the same on every machine and in every process.

    Raises ValueError when an array holds a null.
    """
    chunked = isinstance(values, pa.ChunkedArray)
    held: Any = values if chunked else pa.chunked_array([pa.array(values, pa.large_string())])
    if held.null_count:
        raise ValueError(f"{held.null_count} of {len(held)} strings are null, which has no hash: fill them first")
    found = np.empty(len(held), np.int64)
    for start in range(0, len(held), BLOCK):
        found[start : start + BLOCK] = _buckets(held.slice(start, BLOCK).to_pylist(), buckets, salt)
    return found


def stable_hash_of_ids(ids: np.ndarray, buckets: int, salt: int) -> np.ndarray:
    """As `stable_hash` of ids [n] int64 written in decimal, in the smallest dtype that holds a bucket."""
    found = np.empty(len(ids), np.min_scalar_type(buckets - 1))
    for start in range(0, len(ids), BLOCK):
        strings = map(str, ids[start : start + BLOCK].tolist())
        found[start : start + BLOCK] = _buckets(strings, buckets, salt)
    return found


def _buckets(strings: Iterable[str], buckets: int, salt: int) -> list[int]:
    return [xxhash.xxh3_64_intdigest(text.encode(), salt) % buckets for text in strings]
