"""The pooled sum as one operator of torch: opaque to the compiler, with a gradient and without a second one."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.bag.hashing import rows_of


@dataclass(frozen=True, slots=True)
class Bags:
    """Ids in bags, and what each of them counts."""

    values: Tensor  # [L] int64
    offsets: Tensor  # [B + 1] int64
    weights: Tensor | None  # [L]
    num_hashes: int
    mean: bool

    def bag_of(self) -> Tensor:
        """[L] int64 the bag of each id."""
        every = torch.arange(len(self.offsets) - 1, device=self.values.device)
        return every.repeat_interleave(self.offsets.diff(), output_size=len(self.values))

    def shares(self, dtype: torch.dtype) -> Tensor:
        """[L] by what an id's rows are multiplied without its weight: 0 for padding, 1, or one of as many for a mean."""
        real = (self.values != 0).to(dtype)
        if not self.mean:
            return real
        counts = real.new_zeros(len(self.offsets) - 1).index_add_(0, self.bag_of(), real)
        return real / counts.clamp(min=1)[self.bag_of()]

    def rows(self, size: int) -> Tensor:
        """[L, k] int64 rows of a table of `size`."""
        return rows_of(self.values, self.num_hashes, size)


def full(dtype: torch.dtype) -> torch.dtype:
    """What sums are held in."""
    return dtype if dtype == torch.float64 else torch.float32


@torch.library.custom_op("bag::pool", mutates_args=())
def pool(
    table: Tensor,
    values: Tensor,
    offsets: Tensor,
    weights: Tensor | None,
    num_hashes: int,
    mean: bool,
    impl: str,
) -> Tensor:
    """[B, D] of the table's dtype."""
    bags = Bags(values, offsets, weights, num_hashes, mean)
    return _module(impl).forward(table.contiguous(), bags).to(table.dtype)


@pool.register_fake
def _(table, values, offsets, weights, num_hashes, mean, impl):  # type: ignore[no-untyped-def]
    return table.new_empty(offsets.shape[0] - 1, table.shape[1])


@torch.library.custom_op("bag::pool_backward", mutates_args=())
def _pool_backward(
    gradient: Tensor,
    table: Tensor,
    values: Tensor,
    offsets: Tensor,
    weights: Tensor | None,
    num_hashes: int,
    mean: bool,
    of_table: bool,
    of_weights: bool,
    impl: str,
) -> tuple[Tensor, Tensor]:
    bags, module = Bags(values, offsets, weights, num_hashes, mean), _module(impl)
    gradient, table = gradient.contiguous(), table.contiguous()
    rows, shares = gradient.new_empty(0), gradient.new_empty(0)
    if of_table:
        rows = module.backward_table(gradient, table, bags).to(table.dtype)
    if of_weights and weights is not None:
        shares = module.backward_weights(gradient, table, bags).to(weights.dtype)
    return rows, shares


@_pool_backward.register_fake
def _(gradient, table, values, offsets, weights, num_hashes, mean, of_table, of_weights, impl):  # type: ignore[no-untyped-def]
    rows = table.new_empty(table.shape) if of_table else gradient.new_empty(0)
    return rows, weights.new_empty(weights.shape) if of_weights and weights is not None else gradient.new_empty(0)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    table, values, offsets, weights, *ctx.knobs = inputs
    ctx.save_for_backward(table, values, offsets, weights)


def _differentiate(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    of_table, of_weights = ctx.needs_input_grad[0], ctx.needs_input_grad[3]
    *knobs, impl = ctx.knobs
    rows, weights = _pool_backward(gradient, *ctx.saved_tensors, *knobs, of_table, of_weights, impl)
    return rows if of_table else None, None, None, weights if of_weights else None, None, None, None


def _refuse(ctx: Any, *_: Any) -> None:
    raise NotImplementedError("bag has no second derivative; detach its gradient, or sum table[rows] with plain torch")


pool.register_autograd(_differentiate, setup_context=_save)
_pool_backward.register_autograd(_refuse)


def _module(impl: str) -> Any:
    """Loaded when first needed: who stays on a CPU doesn't import triton."""
    return importlib.import_module(f"kernels.bag.{impl}")
