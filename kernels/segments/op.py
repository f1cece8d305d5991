"""Both segmented reductions as operators of torch: opaque to the compiler, with a gradient and without a second one."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor


def full(dtype: torch.dtype) -> torch.dtype:
    """What sums are held in."""
    return dtype if dtype == torch.float64 else torch.float32


@torch.library.custom_op("segments::logsumexp", mutates_args=())
def logsumexp(scores: Tensor, offsets: Tensor, impl: str) -> Tensor:
    """[B, G] of the scores' dtype."""
    return _module(impl).logsumexp(scores.contiguous(), offsets).to(scores.dtype)


@logsumexp.register_fake
def _(scores, offsets, impl):  # type: ignore[no-untyped-def]
    return scores.new_empty(scores.shape[0], offsets.shape[0] - 1)


@torch.library.custom_op("segments::logsumexp_backward", mutates_args=())
def _logsumexp_backward(gradient: Tensor, scores: Tensor, total: Tensor, offsets: Tensor, impl: str) -> Tensor:
    module = _module(impl)
    return module.logsumexp_backward(gradient.contiguous(), scores.contiguous(), total, offsets).to(scores.dtype)


@torch.library.custom_op("segments::log_softmax", mutates_args=())
def log_softmax(scores: Tensor, offsets: Tensor, impl: str) -> Tensor:
    """[B, N] of the scores' dtype."""
    return _module(impl).log_softmax(scores.contiguous(), offsets).to(scores.dtype)


@torch.library.custom_op("segments::log_softmax_backward", mutates_args=())
def _log_softmax_backward(gradient: Tensor, shares: Tensor, offsets: Tensor, impl: str) -> Tensor:
    return _module(impl).log_softmax_backward(gradient.contiguous(), shares, offsets).to(shares.dtype)


@_logsumexp_backward.register_fake
def _(gradient, scores, total, offsets, impl):  # type: ignore[no-untyped-def]
    return scores.new_empty(scores.shape)


@log_softmax.register_fake
def _(scores, offsets, impl):  # type: ignore[no-untyped-def]
    return scores.new_empty(scores.shape)


@_log_softmax_backward.register_fake
def _(gradient, shares, offsets, impl):  # type: ignore[no-untyped-def]
    return shares.new_empty(shares.shape)


def _save_sums(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    scores, offsets, ctx.impl = inputs
    ctx.save_for_backward(scores, output, offsets)


def _save_shares(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, offsets, ctx.impl = inputs
    ctx.save_for_backward(output, offsets)


def _differentiate_sums(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return _logsumexp_backward(gradient, *ctx.saved_tensors, ctx.impl), None, None


def _differentiate_shares(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return _log_softmax_backward(gradient, *ctx.saved_tensors, ctx.impl), None, None


def _refuse(ctx: Any, *_: Any) -> None:
    raise NotImplementedError(
        "segments have no second derivative; detach the gradient, or take torch.logsumexp of each segment"
    )


logsumexp.register_autograd(_differentiate_sums, setup_context=_save_sums)
log_softmax.register_autograd(_differentiate_shares, setup_context=_save_shares)
_logsumexp_backward.register_autograd(_refuse)
_log_softmax_backward.register_autograd(_refuse)


def _module(impl: str) -> Any:
    """Loaded when first needed: who stays on a CPU doesn't import triton."""
    return importlib.import_module(f"kernels.segments.{impl}")
