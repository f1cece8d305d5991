"""A string hashes to the same bucket on every machine, and strings by the million are hashed where their bytes lie.

The library of xxh3 takes one string a call, and a Python string an item is ten gigabytes at a hundred million. So short
strings are hashed here, by the algorithm as it is published (XXH3, xxHash 0.8, Y. Collet 2020), and long ones by the library.
"""

# pyarrow's stubs don't know what buffers are made of
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import xxhash
from numba import njit

LONGEST = 128  # bytes that are hashed here
DIGITS = 20  # of an id, with its sign
SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
        "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
        "8a51e04bcdb45931c89f7ec9d9787364"
    ),
    np.uint8,
)
PRIME_1, PRIME_2, PRIME_3 = (
    np.uint64(0x9E3779B185EBCA87),
    np.uint64(0xC2B2AE3D27D4EB4F),
    np.uint64(0x165667B19E3779F9),
)
MIX_1, MIX_2 = np.uint64(0x165667919E3779F9), np.uint64(0x9FB21C651E98DF25)


def stable_hash(values: Sequence[str] | pa.Array | pa.ChunkedArray, buckets: int, salt: int) -> np.ndarray:
    """xxh3 of each string's UTF-8 modulo `buckets`, [n] int64: the same on every machine and in every process."""
    held = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([pa.array(values, pa.large_string())])
    if held.null_count:
        raise ValueError(f"{held.null_count} of {len(held)} strings are null, which has no hash: fill them first")
    found, at = np.empty(len(held), np.uint64), 0
    for chunk in held.chunks:
        _hash(*bytes_of(chunk), salt, found[at : at + len(chunk)])
        at += len(chunk)
    found %= np.uint64(buckets)
    return found.view(np.int64)


def stable_hash_of_ids(ids: np.ndarray, buckets: int, salt: int) -> np.ndarray:
    """As `stable_hash` of ids [n] int64 written in decimal, in the smallest dtype, without a string being made."""
    found = np.empty(len(ids), np.min_scalar_type(buckets - 1))
    _hash_ids(np.ascontiguousarray(ids, np.int64), np.uint64(salt), SECRET, np.uint64(buckets), found)
    return found


def bytes_of(strings: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The UTF-8 of strings without nulls, [bytes] uint8, and where each begins, [n + 1] int64; large ones aren't copied."""
    held = strings.cast(pa.large_string())
    _, starts, data = held.buffers()
    if starts is None:
        return np.zeros(0, np.uint8), np.zeros(len(held) + 1, np.int64)
    own = np.frombuffer(starts, np.int64)[held.offset : held.offset + len(held) + 1]
    return np.frombuffer(data or b"", np.uint8), own


def _hash(data: np.ndarray, starts: np.ndarray, salt: int, hashes: np.ndarray) -> None:
    """Into hashes [n] uint64."""
    _hash_all(data, starts, np.uint64(salt), SECRET, hashes)
    for row in np.flatnonzero(np.diff(starts) > LONGEST).tolist():
        hashes[row] = xxhash.xxh3_64_intdigest(data[starts[row] : starts[row + 1]].data, salt)


@njit(cache=True, nogil=True)
def _hash_all(data, starts, seed, secret, hashes):  # type: ignore[no-untyped-def]
    for row in range(len(hashes)):
        if starts[row + 1] - starts[row] <= LONGEST:
            hashes[row] = _xxh3(data, starts[row], starts[row + 1], seed, secret)


@njit(cache=True, nogil=True)
def _hash_ids(ids, seed, secret, buckets, found):  # type: ignore[no-untyped-def]
    text = np.empty(DIGITS, np.uint8)
    for row in range(len(ids)):
        left, at = np.uint64(abs(ids[row])), DIGITS
        while at == DIGITS or left:
            at -= 1
            text[at] = np.uint8(ord("0") + left % np.uint64(10))
            left //= np.uint64(10)
        if ids[row] < 0:
            at -= 1
            text[at] = ord("-")
        found[row] = _xxh3(text, at, DIGITS, seed, secret) % buckets


@njit(cache=True, nogil=True)
def _xxh3(data, start, stop, seed, secret):  # type: ignore[no-untyped-def]
    """Of at most 128 bytes."""
    size = stop - start
    if size > 16:
        return _to_128(data, start, stop, seed, secret)
    if size > 8:
        low = _read(data, start, 8) ^ ((_read(secret, 24, 8) ^ _read(secret, 32, 8)) + seed)
        high = _read(data, stop - 8, 8) ^ ((_read(secret, 40, 8) ^ _read(secret, 48, 8)) - seed)
        return _avalanche(np.uint64(size) + _swapped(low, 8) + high + _folded(low, high))
    if size > 3:
        seed ^= _swapped(seed & np.uint64(0xFFFFFFFF), 4) << np.uint64(32)
        held = _read(data, stop - 4, 4) + (_read(data, start, 4) << np.uint64(32))
        held ^= (_read(secret, 8, 8) ^ _read(secret, 16, 8)) - seed
        held ^= _rotated(held, 49) ^ _rotated(held, 24)
        held *= MIX_2
        held = (held ^ ((held >> np.uint64(35)) + np.uint64(size))) * MIX_2
        return held ^ (held >> np.uint64(28))
    if size > 0:
        first, middle, last = np.uint64(data[start]), np.uint64(data[start + (size >> 1)]), np.uint64(data[stop - 1])
        held = (first << np.uint64(16)) | (middle << np.uint64(24)) | last | np.uint64(size << 8)
        return _avalanche_64(held ^ ((_read(secret, 0, 4) ^ _read(secret, 4, 4)) + seed))
    return _avalanche_64(seed ^ _read(secret, 56, 8) ^ _read(secret, 64, 8))


@njit(cache=True, nogil=True)
def _to_128(data, start, stop, seed, secret):  # type: ignore[no-untyped-def]
    """Of 17 to 128 bytes: pieces of 16 from both ends, the inner ones first."""
    held = np.uint64(stop - start) * PRIME_1
    for piece in range((stop - start - 1) // 32, -1, -1):
        held += _mixed(data, start + 16 * piece, seed, secret, 32 * piece)
        held += _mixed(data, stop - 16 * (piece + 1), seed, secret, 32 * piece + 16)
    return _avalanche(held)


@njit(cache=True, nogil=True)
def _mixed(data, at, seed, secret, key):  # type: ignore[no-untyped-def]
    low, high = _read(secret, key, 8) + seed, _read(secret, key + 8, 8) - seed
    return _folded(_read(data, at, 8) ^ low, _read(data, at + 8, 8) ^ high)


@njit(cache=True, nogil=True)
def _read(data, at, size):  # type: ignore[no-untyped-def]
    """Little-endian."""
    held = np.uint64(0)
    for byte in range(size):
        held |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
    return held


@njit(cache=True, nogil=True)
def _swapped(number, size):  # type: ignore[no-untyped-def]
    held = np.uint64(0)
    for byte in range(size):
        held = (held << np.uint64(8)) | ((number >> np.uint64(8 * byte)) & np.uint64(0xFF))
    return held


@njit(cache=True, nogil=True)
def _rotated(number, bits):  # type: ignore[no-untyped-def]
    return (number << np.uint64(bits)) | (number >> np.uint64(64 - bits))


@njit(cache=True, nogil=True)
def _folded(left, right):  # type: ignore[no-untyped-def]
    """The product of 128 bits, its halves xored."""
    bits, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    low, high = (left & mask) * (right & mask), (left >> bits) * (right >> bits)
    cross = (left >> bits) * (right & mask) + (low >> bits)
    other = (left & mask) * (right >> bits) + (cross & mask)
    return (high + (cross >> bits) + (other >> bits)) ^ ((other << bits) | (low & mask))


@njit(cache=True, nogil=True)
def _avalanche(held):  # type: ignore[no-untyped-def]
    held = (held ^ (held >> np.uint64(37))) * MIX_1
    return held ^ (held >> np.uint64(32))


@njit(cache=True, nogil=True)
def _avalanche_64(held):  # type: ignore[no-untyped-def]
    held = (held ^ (held >> np.uint64(33))) * PRIME_2
    held = (held ^ (held >> np.uint64(29))) * PRIME_3
    return held ^ (held >> np.uint64(32))
