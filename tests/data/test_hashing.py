"""Hashes are those of the library, one string at a time, whatever the strings are."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.hashing import stable_hash, stable_hash_of_ids
from recsys.random import rng

SEEDS = st.integers(0, 2**64 - 1)
BUCKETS = st.integers(1, 2**62)


def one_by_one(strings: list[str], buckets: int, salt: int) -> list[int]:
    return [xxhash.xxh3_64_intdigest(text.encode(), salt) % buckets for text in strings]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=160), max_size=20), BUCKETS, SEEDS)
def test_strings_hash_as_one_by_one(strings: list[str], buckets: int, salt: int) -> None:
    assert stable_hash(strings, buckets, salt).tolist() == one_by_one(strings, buckets, salt)


@pytest.mark.parametrize("salt", [0, 1, 2**63 + 7])
def test_strings_of_every_length_hash_as_one_by_one(salt: int) -> None:
    letters = np.array(list("abc é中😀"))
    strings = ["".join(rng(size, "letters").choice(letters, size)) for size in range(300)]
    assert stable_hash(strings, 2**61, salt).tolist() == one_by_one(strings, 2**61, salt)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=30), BUCKETS, SEEDS)
def test_ids_hash_as_their_decimals(ids: list[int], buckets: int, salt: int) -> None:
    hashed = stable_hash_of_ids(np.array(ids, np.int64), buckets, salt)
    assert hashed.tolist() == one_by_one([str(item) for item in ids], buckets, salt)
    assert hashed.dtype == np.min_scalar_type(buckets - 1)


def test_slices_and_chunks_hash_as_the_whole() -> None:
    strings = [f"{'é' * (number % 90)} {number}" for number in range(1000)]
    whole, array = stable_hash(strings, 1_000_003, 5), pa.array(strings)
    assert np.array_equal(stable_hash(array, 1_000_003, 5), whole)
    assert np.array_equal(stable_hash(array.slice(100, 300), 1_000_003, 5), whole[100:400])
    assert np.array_equal(stable_hash(pa.chunked_array([array[:7], array[7:7], array[7:]]), 1_000_003, 5), whole)
    assert stable_hash(pa.chunked_array([], pa.string()), 7, 0).tolist() == []
    assert stable_hash(["", ""], 1_000_003, 0).tolist() == [778_394, 778_394]
    with pytest.raises(ValueError, match="1 of 2 strings are null, which has no hash: fill them first"):
        stable_hash(pa.array(["a", None]), 7, 0)


def test_hashes_are_the_same_on_every_machine_and_spread_evenly() -> None:
    names = [f"item {number}" for number in range(20_000)]
    hashed = stable_hash(names, 64, salt=3)
    assert hashed.dtype == np.int64
    assert hashed[:50].tolist() == [xxhash.xxh3_64(name.encode(), seed=3).intdigest() % 64 for name in names[:50]]
    assert stable_hash(["apple", "é", ""], 1_000_003, salt=0).tolist() == [916_439, 887_775, 778_394]
    assert np.array_equal(hashed, stable_hash(pa.array(names), 64, salt=3))
    counts = np.bincount(hashed, minlength=64)
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi2 < 63 + 6 * np.sqrt(2 * 63)
    both = np.stack([hashed, stable_hash(names, 64, salt=4)])
    assert abs((both[0] == both[1]).mean() - 1 / 64) < 6 * np.sqrt(1 / 64 / len(names))
