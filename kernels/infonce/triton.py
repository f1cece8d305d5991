"""Launches the Triton kernels: vectors that they need are prepared here, so that their loops have less to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from kernels.choose import INTERPRETED
from kernels.infonce.backward import query_kernel, vectors_kernel
from kernels.infonce.config import FULL, Tiles, tiles
from kernels.infonce.forward import forward_kernel
from kernels.infonce.lookup import hits_kernel
from kernels.infonce.problem import Ahead, Found, Guess, Problem, Wanted
from kernels.infonce.symmetric import symmetric_kernel

BITS = math.log2(math.e)
WIDEST = 256
HIT_ROWS = 32
HALF_SHIFT = 12  # float16 has no exponents for small shares: they are held 2^12 times as large


def forward(problem: Problem, guess: Guess | None = None) -> tuple[Found, None]:
    """Everything that is known before a gradient arrives; a guess at that isn't used."""
    pool = _Pool.of(problem)
    found = Found(*(problem.scale.new_full((pool.rows,), -torch.inf) for _ in range(5)), problem.scale.new_empty(0))
    out = (found.rivals, found.best, found.effective)
    if problem.symmetric:
        found = found._replace(columns=_both_ways(pool, out))
    elif pool.rows:
        size = pool.tiles("forward")
        grid = (triton.cdiv(pool.rows, size.rows),)
        forward_kernel[grid](*pool.scores, *out, pool.rows, pool.columns, **pool.options(size))  # type: ignore[index]
    if problem.named and pool.rows:
        _look_up(problem, pool, found)
    return found, None


def backward(problem: Problem, found: Found, wanted: Wanted, ahead: Ahead | None = None) -> tuple[Tensor, Tensor]:
    """Gradients [B, D] and [N, D], the same bits on every run."""
    pool, shares = _Pool.of(problem), _Shares.of(problem, found, wanted)
    of_query = problem.scale.new_zeros(problem.query.shape)
    if pool.rows:
        size = pool.tiles("query-both" if problem.symmetric else "query")
        grid = (triton.cdiv(pool.rows, size.rows),)
        query_kernel[grid](  # type: ignore[index]
            *pool.scores,
            shares.lse,
            shares.of_row,
            shares.row_factor,
            shares.back_lse,
            shares.of_column,
            of_query,
            pool.rows,
            pool.columns,
            SYMMETRIC=problem.symmetric,
            **pool.options(size),
        )
    return of_query, _of_vectors(problem, pool, shares, None)


def backward_atomic(problem: Problem, found: Found, wanted: Wanted, ahead: Ahead | None = None) -> tuple[Tensor, Tensor]:
    """The same gradients from one kernel: a matrix product less, and sums in an order that changes from run to run."""
    pool, shares = _Pool.of(problem), _Shares.of(problem, found, wanted)
    of_query = problem.scale.new_zeros(problem.query.shape)
    return of_query, _of_vectors(problem, pool, shares, of_query)


@dataclass(frozen=True, slots=True)
class _Pool:
    """What every kernel reads: the scores' ingredients in the order of the kernels' first arguments."""

    rows: int
    columns: int
    dim: int
    scores: tuple[Tensor, ...]  # query, vectors, scale in bits, minus log_q in bits, row codes, column codes
    corrected: bool
    named: bool

    @classmethod
    def of(cls, problem: Problem) -> _Pool:
        query, vectors = problem.query.contiguous(), problem.vectors.contiguous()
        _require(query)
        offset = problem.scale[None] if problem.log_q is None else problem.log_q * -BITS
        codes = (problem.hits.start.contiguous(), problem.hits.code.contiguous())
        scores = (query, vectors, problem.scale * BITS, offset, *codes)
        return cls(len(query), len(vectors), query.shape[1], scores, problem.log_q is not None, problem.named)

    @property
    def half(self) -> bool:
        return self.scores[0].element_size() == 2

    @property
    def width(self) -> int:
        return max(16, triton.next_power_of_2(self.dim))

    def tiles(self, kernel: str) -> Tiles:
        query = self.scores[0]
        major, minor = torch.cuda.get_device_capability(query.device) if query.is_cuda else (9, 0)
        return tiles(kernel, self.width, 10 * major + minor) if self.half else FULL

    def options(self, size: Tiles) -> dict[str, Any]:
        exact = torch.get_float32_matmul_precision() == "highest"
        return {
            "D": self.dim,
            "BM": size.rows,
            "BN": size.columns,
            "BD": self.width,
            "CORRECTED": self.corrected,
            "NAMED": self.named,
            "PRECISION": "ieee" if self.half or exact else "tf32",
            "EMU": INTERPRETED and self.half,
            "num_warps": size.warps,
            "num_stages": size.stages,
        }


@dataclass(frozen=True, slots=True)
class _Shares:
    """What turns logits into gradients: log sum exps in bits, and how much of the gradient is left for the end.

    Without `symmetric` the size of a row's gradient is folded into its log sum exp and its sign into its query.
    """

    lse: Tensor  # [B] of the rows' own sums
    folded: Tensor  # [B] less log2 of the gradient's size
    sign: Tensor  # [B]
    of_row: Tensor  # [B] gradient, relative to `largest`
    row_factor: Tensor  # [B] for the rows' sums of unfolded shares
    back_lse: Tensor  # [N] or any
    of_column: Tensor  # [N] or any
    largest: Tensor  # [] times scale: for the columns' sums

    @classmethod
    def of(cls, problem: Problem, found: Found, wanted: Wanted) -> _Shares:
        shift = HALF_SHIFT if problem.query.dtype == torch.float16 else 0
        small = 2.0**-shift
        given = torch.cat([wanted.rivals, wanted.columns])
        largest = given.abs().amax() if len(given) else given.new_zeros(())
        largest = largest.masked_fill(largest == 0, 1)
        lse = _or_nothing(found.rivals) * BITS - shift
        of_row = wanted.rivals / largest
        if problem.symmetric:
            factor = (largest * problem.scale * small).expand(len(lse)).contiguous()
            back, of_column = _or_nothing(found.columns) * BITS - shift, wanted.columns / largest
            return cls(lse, lse, torch.ones_like(lse), of_row, factor, back, of_column, largest * problem.scale * small)
        folded = torch.where(of_row == 0, torch.inf, lse - of_row.abs().log2())
        sign = torch.where(of_row < 0, -1.0, 1.0)
        factor = wanted.rivals * problem.scale * small
        return cls(lse, folded, sign, of_row, factor, lse, lse, largest * problem.scale * small)


def _both_ways(pool: _Pool, out: tuple[Tensor, ...]) -> Tensor:
    """The forward pass in both directions; [N] log sum exps of the columns, in nats."""
    size = pool.tiles("symmetric")
    blocks = triton.cdiv(pool.rows, size.rows)
    programs = max(1, min(blocks, _processors(pool.scores[0])))
    best = out[0].new_full((programs, pool.columns), -torch.inf)
    total = out[0].new_zeros(programs, pool.columns)
    if pool.rows:
        options = pool.options(size)
        del options["NAMED"]
        symmetric_kernel[(programs,)](*pool.scores, *out, best, total, pool.rows, pool.columns, **options)  # type: ignore[index]
    top = best.amax(0)
    shift = top.masked_fill(top == -torch.inf, 0)
    return (best.sub_(shift).exp2_().mul_(total).sum(0).log2() + shift) / BITS


def _look_up(problem: Problem, pool: _Pool, found: Found) -> None:
    start, count, order, _ = problem.hits
    options = pool.options(Tiles(HIT_ROWS, 0, 4, 1))
    for name in ("BN", "NAMED", "PRECISION"):
        del options[name]
    hits_kernel[(triton.cdiv(pool.rows, HIT_ROWS),)](  # type: ignore[index]
        *pool.scores[:4], problem.target, start, count, order, found.hits, found.best_hit, pool.rows, **options
    )


def _of_vectors(problem: Problem, pool: _Pool, shares: _Shares, of_query: Tensor | None) -> Tensor:
    """[N, D]; with of_query [B, D], zero at first, the rows' gradient is added there by the same kernel."""
    query, vectors, scale, offset, row, code = pool.scores
    atomic = of_query is not None
    of_vectors = problem.scale.new_zeros(problem.vectors.shape)
    if not pool.rows:
        return of_vectors
    size = pool.tiles("atomic" if atomic else "vectors-both" if problem.symmetric else "vectors")
    vectors_kernel[(triton.cdiv(pool.columns, size.columns),)](  # type: ignore[index]
        query * shares.sign[:, None].to(query.dtype),
        vectors,
        scale * shares.sign,
        offset,
        row,
        code,
        shares.folded,
        shares.of_row,
        shares.back_lse,
        shares.of_column,
        *_first_and_last(problem, pool),
        shares.largest,
        of_vectors,
        shares.largest * shares.sign,
        of_vectors if of_query is None else of_query,
        pool.rows,
        pool.columns,
        SYMMETRIC=problem.symmetric,
        ATOMIC=atomic,
        **pool.options(size),
    )
    return of_vectors


def _first_and_last(problem: Problem, pool: _Pool) -> tuple[Tensor, Tensor]:
    """[N] int32: the first row whose positive a column is, and one past the last; none: B and 0."""
    target = problem.hits.start
    if problem.named:  # then ids tell, whatever the place
        return target, target
    row = torch.arange(pool.rows, dtype=torch.int32, device=target.device)
    place = target.long().masked_fill(target < 0, pool.columns)  # rows without a positive go to a column past the end
    low = row.new_full((pool.columns + 1,), pool.rows).scatter_reduce_(0, place, row, "amin")
    high = row.new_zeros(pool.columns + 1).scatter_reduce_(0, place, row + 1, "amax")
    return low, high


def _or_nothing(total: Tensor) -> Tensor:
    """A sum over nothing has no shares: exp2(logit - inf) is 0."""
    return total.masked_fill(total == -torch.inf, torch.inf)


def _processors(tensor: Tensor) -> int:
    return torch.cuda.get_device_properties(tensor.device).multi_processor_count if tensor.is_cuda else 2


def _require(query: Tensor) -> None:
    if not query.is_cuda and not INTERPRETED:
        raise RuntimeError(
            f"infonce: impl='triton' needs a CUDA device, the tensors are on {query.device}; move them there, take "
            "impl='chunked', or set TRITON_INTERPRET=1 before Python starts to run the kernels slowly without one"
        )
    if query.shape[1] > WIDEST or query.dtype == torch.float64:
        raise ValueError(
            f"infonce: impl='triton' takes D up to {WIDEST} and no float64, got D = {query.shape[1]} and {query.dtype}; "
            "take impl='chunked'"
        )
