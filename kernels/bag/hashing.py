"""A hashed id has its rows everywhere and always: xxh3 (Collet 2019), the house's hash, of the id's eight bytes."""

from __future__ import annotations

import torch
from torch import Tensor

SECRET = 0x1CAD21F72C81017C ^ 0xDB979083E96DD4DE  # xxh3's own, bytes 8 to 24
FACTOR = 0x9FB21C651E98DF25


def rows_of(values: Tensor, num_hashes: int, size: int) -> Tensor:
    """[L, max(1, k)] int64 rows of a table of `size`; 0 for padding, and 0 for nothing else where ids are hashed."""
    if num_hashes == 0:
        return values[:, None]
    hashed = torch.stack([_below(xxh3(values, seed), size - 1) + 1 for seed in range(num_hashes)], dim=1)
    return hashed.masked_fill_(values[:, None] == 0, 0)


def xxh3(values: Tensor, seed: int) -> Tensor:
    """64 bits as int64, of ids taken as eight bytes, least first; seeds below 256."""
    flip = _signed(SECRET - (seed ^ seed << 56))
    mixed = (_shifted(values, 32) + (values << 32)) ^ flip
    mixed = mixed ^ _turned(mixed, 49) ^ _turned(mixed, 24)
    mixed = mixed * _signed(FACTOR)
    mixed = (mixed ^ (_shifted(mixed, 35) + 8)) * _signed(FACTOR)
    return mixed ^ _shifted(mixed, 28)


def _below(hashed: Tensor, size: int) -> Tensor:
    """The remainder of the number without a sign."""
    return (_shifted(hashed, 1) % size * 2 + (hashed & 1)) % size


def _shifted(number: Tensor, by: int) -> Tensor:
    """To the right, filled with zeros."""
    return (number >> by) & ((1 << (64 - by)) - 1)


def _turned(number: Tensor, by: int) -> Tensor:
    return (number << by) | _shifted(number, 64 - by)


def _signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63
