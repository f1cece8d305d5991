"""Pieces that the kernels share: tiles of embeddings, and the ranges of tiles that need masks.

Logits are in bits here: what is exponentiated is scaled by log2(e) beforehand, so that exp is one exp2.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tile_of(
    BASE, start, count, D: tl.constexpr, ROWS: tl.constexpr, BD: tl.constexpr, EDGE: tl.constexpr, EMU: tl.constexpr
):  # fmt: skip
    """[ROWS, BD] embeddings from row `start` on; with EDGE, rows past `count` are copies of the last one."""
    rows = tl.arange(0, ROWS)
    if EDGE:
        rows = tl.minimum(rows, count - 1 - start)
    places = tl.arange(0, BD)
    pointers = BASE + tl.cast(start, tl.int64) * D + rows[:, None] * D + places[None, :]
    tile = tl.load(pointers) if BD == D else tl.load(pointers, mask=places[None, :] < D, other=0.0)
    if EMU:  # the interpreter multiplies the bit patterns of bfloat16
        tile = tile.to(tl.float32)
    return tile


@triton.jit
def entries(BASE, places, count, OTHER: tl.constexpr, EDGE: tl.constexpr):
    """One number per place; with EDGE, OTHER past `count`."""
    if EDGE:
        return tl.load(BASE + places, mask=places < count, other=OTHER)
    return tl.load(BASE + places)


@triton.jit
def rounded(share, TYPE: tl.constexpr, EMU: tl.constexpr):
    """Shares in the precision in which tensor cores take them."""
    share = share.to(TYPE)
    if EMU:
        share = share.to(tl.float32)
    return share


@triton.jit
def special(low, high, count, SIZE: tl.constexpr):
    """(full tiles, first, last + 1) of the tiles that [low, high) touches, the ragged one aside; low > high for none."""
    whole = count // SIZE
    first = tl.minimum(low // SIZE, whole)
    last = tl.minimum((high + SIZE - 1) // SIZE, whole)
    return whole, first, tl.maximum(first, last)
