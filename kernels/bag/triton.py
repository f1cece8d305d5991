"""Forward a program is a bag; backward the ids lie sorted by row, so that a row is summed in one order by one program."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.bag.hashing import FACTOR, SECRET
from kernels.bag.op import Bags
from kernels.choose import INTERPRETED

STEP = 8  # sorted places that a program of the backward pass looks at
HASH_SECRET, HASH_FACTOR = tl.constexpr(SECRET), tl.constexpr(FACTOR)


def forward(table: Tensor, bags: Bags) -> Tensor:
    """[B, D] in float32."""
    size, dim = table.shape
    num = len(bags.offsets) - 1
    total = torch.empty(num, dim, dtype=torch.float32, device=table.device)
    if num:
        launch = launch_of(dim, bags.num_hashes)
        launch |= {"MEAN": bags.mean, "EMU": _emulated(table)}
        grid = (num, triton.cdiv(dim, launch["BD"]))
        pool_kernel[grid](table, bags.values, bags.offsets, bags.weights, total, size, dim, **launch)
    return total


def backward_table(gradient: Tensor, table: Tensor, bags: Bags) -> Tensor:
    """[V, D] in float32: pieces of a row's ids first, then, where there are several, the pieces."""
    size, dim = table.shape
    total = torch.zeros(size, dim, dtype=torch.float32, device=table.device)
    rows = bags.rows(size).flatten()  # [L * k]
    if not len(rows):
        return total
    rows = rows.where((rows > 0) & (rows < size), size)  # at the end what counts for no row
    held, order = (rows.int() if size < 2**31 else rows).sort(stable=True)  # half the digits
    first, last = _runs(held)
    factor = bags.shares(torch.float32)
    factor = factor if bags.weights is None else factor * bags.weights
    tile = {name: number for name, number in launch_of(dim, 0).items() if name != "HASHES"}
    emulated: dict[str, Any] = {"EMU": _emulated(gradient)}
    windows, columns = -(-len(rows) // tile["PIECE"]), -(-dim // tile["BD"])
    parts = torch.empty(2 * windows, dim, dtype=torch.float32, device=table.device)
    place = order // max(1, bags.num_hashes)
    pieces_kernel[(-(-len(rows) // STEP), columns)](
        *(gradient, held, first, last, bags.bag_of()[place], factor[place], parts, total, len(rows), size, dim),
        **{"STEP": STEP, **tile, **emulated},
    )
    join_kernel[(windows, columns)](held, first, last, parts, total, len(rows), size, dim, **tile)
    return total


def _runs(held: Tensor) -> tuple[Tensor, Tensor]:
    """[L] where each number's run of equals begins, and one past its end, of sorted numbers."""
    size = len(held)
    place = torch.arange(size, device=held.device)
    opens = torch.ones(size, dtype=torch.bool, device=held.device)
    torch.ne(held[1:], held[:-1], out=opens[1:])
    run = opens.cumsum(0) - 1
    starts = torch.full((size + 1,), size, device=held.device)
    starts.scatter_reduce_(0, run, place, "amin")
    return starts[run], starts[run + 1]


def backward_weights(gradient: Tensor, table: Tensor, bags: Bags) -> Tensor:
    """[L] in float32."""
    size, dim = table.shape
    total = torch.empty(len(bags.values), dtype=torch.float32, device=table.device)
    if len(total):
        launch = launch_of(dim, bags.num_hashes)
        launch |= {"EMU": _emulated(table)}
        shares_kernel[(triton.cdiv(len(total), launch["PIECE"]),)](
            gradient,
            table,
            bags.values,
            bags.bag_of(),
            bags.shares(torch.float32),
            total,
            len(total),
            size,
            dim,
            **launch,
        )
    return total


def launch_of(dim: int, num_hashes: int) -> dict[str, Any]:
    """The constants of a launch: PIECE ids are met at once, BD columns by a program."""
    block = min(max(16, int(triton.next_power_of_2(dim))), 128)
    return {"HASHES": num_hashes, "PIECE": 16, "BD": block, "num_warps": 1 if block <= 64 else 4}


def _emulated(tensor: Tensor) -> bool:
    return INTERPRETED and tensor.dtype == torch.bfloat16


@triton.jit
def pool_kernel(
    table,
    values,
    offsets,
    weights,
    total,
    size,
    dim,
    HASHES: tl.constexpr,
    PIECE: tl.constexpr,
    BD: tl.constexpr,
    MEAN: tl.constexpr,
    EMU: tl.constexpr,
):
    bag = tl.program_id(0)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    start = tl.load(offsets + bag)
    stop = tl.load(offsets + bag + 1)
    held = tl.zeros((PIECE, BD), tl.float32)
    real = tl.zeros((PIECE,), tl.int32)
    for at in range(start, stop, PIECE):
        place = at + tl.arange(0, PIECE)
        ids = tl.load(values + place, mask=place < stop, other=0)
        real += (ids != 0).to(tl.int32)
        found = _sum_of_rows(table, ids, d, size, dim, HASHES, PIECE, BD, EMU)
        if weights is not None:
            found = found * tl.load(weights + place, mask=place < stop, other=0.0).to(tl.float32)[:, None]
        held += found
    summed = tl.sum(held, axis=0)
    if MEAN:
        summed = summed / tl.maximum(tl.sum(real, axis=0), 1)
    tl.store(total + bag.to(tl.int64) * dim + d, summed, mask=d < dim)


@triton.jit
def pieces_kernel(
    gradient,
    held,
    first,
    last,
    bag,
    factor,
    parts,
    total,
    count,
    size,
    dim,
    STEP: tl.constexpr,
    PIECE: tl.constexpr,
    BD: tl.constexpr,
    EMU: tl.constexpr,
):
    """A program sums the pieces that begin among its STEP places: one for every place would mostly have nothing to do."""
    start = tl.program_id(0).to(tl.int64) * STEP
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    for at in range(start, tl.minimum(start + STEP, count)):
        begin = tl.load(first + at)
        row = tl.load(held + at).to(tl.int64)
        if ((at - begin) % PIECE == 0) & (row < size):
            end = tl.load(last + at)
            place = at + tl.arange(0, PIECE)
            inside = place < end
            whose = tl.load(bag + place, mask=inside, other=0)
            share = tl.load(factor + place, mask=inside, other=0.0)
            where = gradient + whose[:, None] * dim + d[None, :]
            part = tl.load(where, mask=inside[:, None] & (d < dim)[None, :], other=0.0).to(tl.float32)
            summed = tl.sum(part * share[:, None], axis=0)
            if end - begin <= PIECE:
                tl.store(total + row * dim + d, summed, mask=d < dim)
            else:
                tl.store(parts + _slot(at, begin, PIECE) * dim + d, summed, mask=d < dim)


@triton.jit
def join_kernel(
    held,
    first,
    last,
    parts,
    total,
    count,
    size,
    dim,
    PIECE: tl.constexpr,
    BD: tl.constexpr,
):
    """A window of the sorted ids holds at most one beginning of a row with several pieces: it is longer than a window."""
    place = tl.program_id(0).to(tl.int64) * PIECE + tl.arange(0, PIECE)
    inside = place < count
    begins = tl.load(first + place, mask=inside, other=-1) == place
    long = tl.load(last + place, mask=inside, other=0) - place > PIECE
    real = tl.load(held + place, mask=inside, other=size) < size
    begin = tl.max(tl.where(begins & long & real, place, -1), axis=0)
    if begin < 0:
        return
    end = tl.load(last + begin)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    summed = tl.zeros((PIECE, BD), tl.float32)
    for at in range(begin, end, PIECE * PIECE):
        piece = at + tl.arange(0, PIECE) * PIECE
        where = parts + _slot(piece, begin, PIECE)[:, None] * dim + d[None, :]
        summed += tl.load(where, mask=(piece < end)[:, None] & (d < dim)[None, :], other=0.0)
    row = tl.load(held + begin).to(tl.int64)
    tl.store(total + row * dim + d, tl.sum(summed, axis=0), mask=d < dim)


@triton.jit
def shares_kernel(
    gradient,
    table,
    values,
    bag,
    factor,
    total,
    count,
    size,
    dim,
    HASHES: tl.constexpr,
    PIECE: tl.constexpr,
    BD: tl.constexpr,
    EMU: tl.constexpr,
):
    place = tl.program_id(0).to(tl.int64) * PIECE + tl.arange(0, PIECE)
    inside = place < count
    ids = tl.load(values + place, mask=inside, other=0)
    whose = tl.load(bag + place, mask=inside, other=0)
    summed = tl.zeros((PIECE, BD), tl.float32)
    for start in range(0, dim, BD):
        d = start + tl.arange(0, BD)
        fit = (inside & (ids != 0))[:, None] & (d < dim)[None, :]
        asked = tl.load(gradient + whose[:, None] * dim + d[None, :], mask=fit, other=0.0).to(tl.float32)
        summed += _sum_of_rows(table, ids, d, size, dim, HASHES, PIECE, BD, EMU) * asked
    share = tl.load(factor + place, mask=inside, other=0.0)
    tl.store(total + place, tl.sum(summed, axis=1) * share, mask=inside)


@triton.jit
def _sum_of_rows(table, ids, d, size, dim, HASHES: tl.constexpr, PIECE: tl.constexpr, BD: tl.constexpr,
                 EMU: tl.constexpr):  # fmt: skip
    """[PIECE, BD] the rows of each id added up; 0 for padding, NaN for an id outside the table."""
    found = tl.zeros((PIECE, BD), tl.float32)
    for seed in tl.static_range(max(HASHES, 1)):
        row = ids
        if HASHES > 0:
            row = (_xxh3(ids, seed) % tl.cast(size - 1, tl.uint64)).to(tl.int64) + 1
        outside = (row < 0) | (row >= size)
        fit = ((ids != 0) & ~outside)[:, None] & (d < dim)[None, :]
        rows = tl.load(table + row[:, None] * dim + d[None, :], mask=fit, other=0.0).to(tl.float32)
        found += tl.where(outside[:, None], float("nan"), rows)
    return found


@triton.jit
def _xxh3(ids, seed):
    """As kernels.bag.hashing.xxh3."""
    flip = tl.full((), HASH_SECRET, tl.uint64) - (seed + (seed << 56))
    mixed = ids.to(tl.uint64, bitcast=True)
    mixed = ((mixed >> 32) + (mixed << 32)) ^ flip
    mixed = mixed ^ ((mixed << 49) | (mixed >> 15)) ^ ((mixed << 24) | (mixed >> 40))
    mixed = mixed * tl.full((), HASH_FACTOR, tl.uint64)
    mixed = (mixed ^ ((mixed >> 35) + 8)) * tl.full((), HASH_FACTOR, tl.uint64)
    return mixed ^ (mixed >> 28)


@triton.jit
def _slot(at, begin, PIECE: tl.constexpr):
    """Where a piece that starts at `at` is held: a window has room for one beginning and one continuation."""
    return 2 * (at // PIECE) + (at == begin).to(tl.int64)
