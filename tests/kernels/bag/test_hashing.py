"""Ids hash to what the house's own hash says, on every device."""

from __future__ import annotations

import torch
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from kernels.bag.hashing import rows_of, xxh3


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.integers(0, 15))
def test_it_is_xxh3_of_the_eight_bytes(ids: list[int], seed: int) -> None:
    expected = [xxhash.xxh3_64_intdigest((i % 2**64).to_bytes(8, "little"), seed) for i in ids]
    assert [h % 2**64 for h in xxh3(torch.tensor(ids), seed).tolist()] == expected


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.integers(2, 2**40))
def test_rows_leave_the_first_to_padding(ids: list[int], size: int) -> None:
    rows = rows_of(torch.tensor([*ids, 0]), 3, size)
    assert rows[-1].tolist() == [0, 0, 0]
    for i, row in zip(ids, rows.tolist(), strict=False):
        if i:
            digests = [xxhash.xxh3_64_intdigest((i % 2**64).to_bytes(8, "little"), seed) for seed in range(3)]
            assert row == [digest % (size - 1) + 1 for digest in digests]


def test_rows_are_spread_evenly() -> None:
    counts = torch.bincount(rows_of(torch.arange(1, 100_001), 2, 101).flatten(), minlength=101)
    assert counts[0] == 0
    assert ((counts[1:] - 2000).square() / 2000).sum() < 150  # 99 on average with a deviation of 14
