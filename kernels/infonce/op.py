"""The scan as one operator of torch: opaque to the compiler, with a gradient and without a second one."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from kernels.infonce.hits import Hits
from kernels.infonce.problem import Ahead, Found, Guess, Problem, Wanted, add_own, blocks, full, own_scores

Ten = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def scan(problem: Problem, impl: str, guess: Guess | None = None, whole: bool = False) -> tuple[Tensor, Found]:
    """The own scores [B] and what a pass over all pairs finds; `whole` counts the hits among the rivals.

    Own scores, rivals and columns carry gradients for query, vectors and scale.
    """
    wanted = any(x.requires_grad for x in (problem.query, problem.vectors, problem.scale))
    ahead = guess is not None and impl == "chunked" and wanted and torch.is_grad_enabled() and not problem.symmetric
    own, *found = _scan(
        problem.query,
        problem.vectors,
        problem.scale,
        problem.target,
        problem.log_q,
        list(problem.hits),
        list(guess) if guess and ahead else [],
        problem.named,
        problem.symmetric,
        whole,
        impl,
    )[:7]
    return own, Found(*found)


@torch.library.custom_op("infonce::scan", mutates_args=())
def _scan(
    query: Tensor,
    vectors: Tensor,
    scale: Tensor,
    target: Tensor,
    log_q: Tensor | None,
    hits: list[Tensor],
    guess: list[Tensor],
    named: bool,
    symmetric: bool,
    whole: bool,
    impl: str,
) -> Ten:
    problem = Problem(query, vectors, scale, log_q, target, Hits(*hits), named, symmetric)
    found, ahead = _module(impl).forward(problem, Guess(*guess) if guess else None)
    if whole:
        found = found._replace(rivals=torch.logaddexp(found.rivals, found.hits))
    ahead = ahead or Ahead(*(scale.new_empty(0) for _ in range(3)))
    return own_scores(problem), *found, *ahead  # type: ignore[return-value]


@_scan.register_fake
def _(query, vectors, scale, target, log_q, hits, guess, named, symmetric, whole, impl):  # type: ignore[no-untyped-def]
    size, columns = query.shape[0], vectors.shape[0]
    ahead = ((size,), query.shape, vectors.shape) if guess else ((0,),) * 3
    shapes = (*((size,),) * 6, (columns if symmetric else 0,), *ahead)
    return tuple(query.new_empty(shape, dtype=full(query.dtype)) for shape in shapes)


@torch.library.custom_op("infonce::scan_backward", mutates_args=())
def _scan_backward(
    wanted: list[Tensor],
    query: Tensor,
    vectors: Tensor,
    scale: Tensor,
    target: Tensor,
    log_q: Tensor | None,
    hits: list[Tensor],
    found: list[Tensor],
    ahead: list[Tensor],
    named: bool,
    symmetric: bool,
    impl: str,
) -> tuple[Tensor, Tensor, Tensor]:
    problem = Problem(query, vectors, scale, log_q, target, Hits(*hits), named, symmetric)
    module = _module(impl)
    backward = module.backward_atomic if impl == "triton-atomic" else module.backward
    guessed = Ahead(*ahead) if ahead[1].ndim == 2 else None
    of_query, of_vectors = backward(problem, Found(*found), Wanted(*wanted), guessed)
    add_own(problem, wanted[0], of_query, of_vectors)
    slopes = [(query[rows].to(problem.full) * of_query[rows]).sum() for rows in blocks(query)]
    of_scale = torch.stack([scale.new_zeros(()), *slopes]).sum() / scale  # every score is scale * query . vector
    return of_query.to(query.dtype), of_vectors.to(vectors.dtype), of_scale


@_scan_backward.register_fake
def _(wanted, query, vectors, scale, *_):  # type: ignore[no-untyped-def]
    return torch.empty_like(query), torch.empty_like(vectors), torch.empty_like(scale)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    query, vectors, scale, target, log_q, hits, guess, named, symmetric, whole, impl = inputs
    start, count, order, code = hits
    if whole:  # then no pair is closed to the gradient
        named, start, count = False, torch.full_like(start, -1), torch.zeros_like(count)
    ctx.save_for_backward(query, vectors, scale, target, log_q, start, count, order, code, *output[1:])
    ctx.rest = (named, symmetric, impl)
    ctx.constants = ([None] * len(hits), [None] * len(guess))


def _differentiate(ctx: Any, own: Tensor, rivals: Tensor, *others: Tensor) -> tuple[Any, ...]:
    query, vectors, scale, target, log_q, *saved = ctx.saved_tensors
    hits, found, ahead = saved[:4], saved[4:10], saved[10:]
    wanted = [own, rivals, others[4]]
    gradients = _scan_backward(wanted, query, vectors, scale, target, log_q, hits, found, ahead, *ctx.rest)
    return (*gradients, None, None, *ctx.constants, None, None, None, None)


def _refuse(ctx: Any, *_: Any) -> None:
    raise NotImplementedError("infonce has no second derivative; use impl='reference', which has any")


_scan.register_autograd(_differentiate, setup_context=_save)
_scan_backward.register_autograd(_refuse)


def _module(impl: str) -> Any:
    """Loaded when first needed: who stays with chunks doesn't import triton."""
    return importlib.import_module(f"kernels.infonce.{impl.removesuffix('-atomic')}")
