"""Launches the Triton kernels: vectors that they need are prepared here, so that their loops have less to do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.choose import INTERPRETED
from kernels.infonce.backward import query_kernel, vectors_kernel
from kernels.infonce.config import FULL, Tiles, tiles
from kernels.infonce.forward import forward_kernel
from kernels.infonce.layout import Layout
from kernels.infonce.lookup import hits_kernel
from kernels.infonce.problem import Ahead, Found, Guess, Problem, Wanted

BITS = math.log2(math.e)
WIDEST = 256
HIT_ROWS = 32
HALF_SHIFT = 12  # float16 has no exponents for small shares: they are held 2^12 times as large


def forward(problem: Problem, guess: Guess | None = None) -> tuple[Found, None]:
    """Everything that is known before a gradient arrives; a guess at that isn't used."""
    pool = _Pool.of(problem)
    found = Found.nothing(problem)
    _launch(forward_kernel, pool, "forward", pool.rows, (*pool.scores, *found[:3], pool.rows, pool.columns))
    if problem.symmetric:
        found = found._replace(columns=pool.column_places(_columns_sums(pool)))
    if problem.named:
        _look_up(problem, pool, found)
    return found._replace(
        **{name: pool.row_places(x) for name, x in found._asdict().items() if name != "columns"}
    ), None


def backward(problem: Problem, found: Found, wanted: Wanted, ahead: Ahead | None = None) -> tuple[Tensor, Tensor]:
    """Gradients [B, D] and [N, D], the same bits on every run."""
    pool = _Pool.of(problem)
    shares = _Shares.of(problem, pool, found, wanted)
    of_query = problem.scale.new_zeros(problem.query.shape)
    by_row = (shares.lse, shares.of_row, shares.row_factor)
    by_column = (shares.back_lse, shares.of_column)
    arguments = (*pool.scores, *by_row, *by_column, pool.layout.row, of_query, pool.rows, pool.columns)
    name = "query-both" if problem.symmetric else "query"
    _launch(query_kernel, pool, name, pool.rows, arguments, SYMMETRIC=problem.symmetric)
    return of_query, _of_vectors(problem, pool, shares, None)


def backward_atomic(
    problem: Problem, found: Found, wanted: Wanted, ahead: Ahead | None = None
) -> tuple[Tensor, Tensor]:
    """The same gradients from one kernel: a matrix product less, and sums in an order that changes from run to run."""
    pool = _Pool.of(problem)
    shares = _Shares.of(problem, pool, found, wanted)
    of_query = problem.scale.new_zeros(problem.query.shape)
    return of_query, _of_vectors(problem, pool, shares, of_query)


@dataclass(frozen=True, slots=True)
class _Pool:
    """What every kernel reads: the scores' ingredients in the order of the kernels' first arguments."""

    layout: Layout
    scores: tuple[Tensor, ...]  # query, vectors, scale in bits, minus log_q in bits, first and last closed column

    @classmethod
    def of(cls, problem: Problem) -> _Pool:
        _require(problem.query)
        layout = Layout.of(problem)
        scale = problem.scale * BITS
        offset = scale[None] if layout.log_q is None else layout.log_q * -BITS
        return cls(layout, (layout.query, layout.vectors, scale, offset, layout.first, layout.last))

    @property
    def rows(self) -> int:
        return len(self.layout.query)

    @property
    def columns(self) -> int:
        return len(self.layout.vectors)

    @property
    def half(self) -> bool:
        return self.layout.query.element_size() == 2

    @property
    def width(self) -> int:
        return max(16, 1 << (self.layout.query.shape[1] - 1).bit_length())

    def row_places(self, sorted_rows: Tensor) -> Tensor:
        return torch.empty_like(sorted_rows).index_copy_(0, self.layout.row.long(), sorted_rows)

    def column_places(self, sorted_columns: Tensor) -> Tensor:
        return torch.empty_like(sorted_columns).index_copy_(0, self.layout.column.long(), sorted_columns)

    def tiles(self, kernel: str) -> Tiles:
        query = self.layout.query
        major, minor = torch.cuda.get_device_capability(query.device) if query.is_cuda else (9, 0)
        return tiles(kernel, self.width, 10 * major + minor) if self.half else FULL

    def options(self, size: Tiles) -> dict[str, Any]:
        exact = torch.get_float32_matmul_precision() == "highest"
        return {
            "D": self.layout.query.shape[1],
            "BM": size.rows,
            "BN": size.columns,
            "BD": self.width,
            "CORRECTED": self.layout.log_q is not None,
            "PRECISION": "ieee" if self.half or exact else "tf32",
            "EMU": INTERPRETED and self.half,
            "num_warps": size.warps,
            "num_stages": size.stages,
        }


@dataclass(frozen=True, slots=True)
class _Shares:
    """What turns logits into gradients, in the layout's order: log sum exps in bits, and what is left for the end.

    Without `symmetric` the size of a row's gradient is folded into its log sum exp and its sign into its query.
    """

    lse: Tensor  # [B] of the rows' own sums
    folded: Tensor  # [B] less log2 of the gradient's size
    sign: Tensor  # [B]
    of_row: Tensor  # [B] gradient, relative to the largest
    row_factor: Tensor  # [B] for the rows' sums of unfolded shares
    back_lse: Tensor  # [N], or any unless symmetric
    of_column: Tensor  # [N], or any
    factor: Tensor  # [] for the columns' sums

    @classmethod
    def of(cls, problem: Problem, pool: _Pool, found: Found, wanted: Wanted) -> _Shares:
        shift = HALF_SHIFT if problem.query.dtype == torch.float16 else 0
        row, column = pool.layout.row, pool.layout.column
        rivals, given = found.rivals[row], wanted.rivals[row]
        largest = torch.cat([given, wanted.columns, given.new_zeros(1)]).abs().amax()
        largest = largest.masked_fill(largest == 0, 1)
        lse, of_row = _or_nothing(rivals) * BITS - shift, given / largest
        factor = largest * problem.scale * 2.0**-shift
        if problem.symmetric:
            back, of_column = _or_nothing(found.columns[column]) * BITS - shift, wanted.columns[column] / largest
            return cls(lse, lse, torch.ones_like(lse), of_row, factor.repeat(len(lse)), back, of_column, factor)
        folded = torch.where(of_row == 0, torch.inf, lse - of_row.abs().log2())
        sign = torch.where(of_row < 0, -1.0, 1.0)
        return cls(lse, folded, sign, of_row, of_row * factor, lse, lse, factor)


def _launch(kernel: Any, pool: _Pool, name: str, count: int, arguments: tuple[Any, ...], **flags: bool) -> None:
    """A program for every tile of `count` rows, or of columns where the kernel has those."""
    size = pool.tiles(name)
    each = size.columns if kernel is vectors_kernel else size.rows
    programs = -(-count // each)
    if programs:
        kernel[(programs,)](*arguments, **(pool.options(size) | flags))


def _columns_sums(pool: _Pool) -> Tensor:
    """[N] log sum exps of the columns over the rows open to them, in nats: the forward pass with the sides exchanged.

    One kernel for both directions would save a product and pay with a second reduction and a read and a write of the
    columns' sums at every tile; on an H100 that was the slower way (LAB.md, the first day on a GPU).
    """
    query, vectors, scale, _, _, _ = pool.scores
    sums, best, effective = (scale.new_empty(pool.columns) for _ in range(3))
    arguments = (vectors, query, scale, scale[None], *pool.layout.closed_rows(), sums, best, effective)
    arguments = (*arguments, pool.columns, pool.rows)
    _launch(forward_kernel, pool, "forward", pool.columns, arguments, CORRECTED=False)
    return sums


def _look_up(problem: Problem, pool: _Pool, found: Found) -> None:
    place = torch.empty_like(pool.layout.column)  # of a column in the layout
    place[pool.layout.column] = torch.arange(pool.columns, dtype=place.dtype, device=place.device)
    own = torch.where(problem.target < 0, -1, place[problem.target.clamp(min=0)])[pool.layout.row]
    kernel: Any = hits_kernel
    if pool.rows:
        kernel[(-(-pool.rows // HIT_ROWS),)](
            *(*pool.scores, own, found.hits, found.best_hit, pool.rows),
            D=problem.query.shape[1],
            BM=HIT_ROWS,
            BD=pool.width,
            CORRECTED=problem.log_q is not None,
        )


def _of_vectors(problem: Problem, pool: _Pool, shares: _Shares, of_query: Tensor | None) -> Tensor:
    """[N, D]; with of_query [B, D], zero at first, the rows' gradient is added there by the same kernel."""
    query, vectors, scale, offset, first, last = pool.scores
    of_vectors = problem.scale.new_zeros(problem.vectors.shape)
    arguments = (
        *(query * shares.sign[:, None].to(query.dtype), vectors, scale * shares.sign, offset, first, last),
        *(shares.folded, shares.of_row, shares.back_lse, shares.of_column),
        *pool.layout.closed_rows(),
        *(shares.factor, pool.layout.column, of_vectors),
        *(shares.factor * shares.sign, pool.layout.row, of_vectors if of_query is None else of_query),
        *(pool.rows, pool.columns),
    )
    atomic = of_query is not None
    name = "atomic" if atomic else "vectors-both" if problem.symmetric else "vectors"
    columns = pool.columns if pool.rows else 0
    _launch(vectors_kernel, pool, name, columns, arguments, SYMMETRIC=problem.symmetric, ATOMIC=atomic)
    return of_vectors


def _or_nothing(total: Tensor) -> Tensor:
    """A sum over nothing has no shares: exp2(logit - inf) is 0."""
    return total.masked_fill(total == -torch.inf, torch.inf)


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
