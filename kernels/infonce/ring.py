"""The columns of all workers, of which none is ever whole in one place: blocks go round, and so do their gradients."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from kernels.infonce import check
from kernels.infonce.assemble import implementation, inside, least, own_log_q, rows, scale_of, weighted
from kernels.infonce.hits import by_id, by_place
from kernels.infonce.problem import Found, Problem, Wanted, add_own, full, own_scores
from kernels.infonce.reference import InfoNCEOutput


def infonce_ring(
    query: Tensor,
    vectors: Tensor,
    target: Tensor,
    *,
    log_q: Tensor | None = None,
    ids: Tensor | None = None,
    temperature: float | Tensor,
    weight: Tensor | None = None,
    positive_mode: str = "sampled",
    mask_hits: bool = True,
    impl: str = "auto",
    group: Any = None,
) -> InfoNCEOutput:
    """`infonce` of this worker's rows over the columns of all workers of `group`; positives are among its own columns.

    Every worker calls it, forward and backward, with any number of rows and columns; either all or none give log_q and
    ids. A worker holds its own columns and two neighbours' blocks at a time, never all. The gradient of vectors is that
    of the sum of all workers' losses. Worth its latency where all columns wouldn't fit; else gather them and call
    `infonce`, which also can be symmetric. Raises as `infonce` does.
    """
    check.check_all(query, vectors, target, log_q, ids, weight)
    check.check_modes(temperature, positive_mode, query)
    impl = implementation(impl, query, vectors)
    check.check_choice("impl", impl, ("triton", "chunked"))
    target, poison = inside(target, len(vectors))
    log_q = log_q if log_q is None else log_q.to(full(query.dtype))
    local = _Local(target, log_q, ids, mask_hits, impl, group)
    raw, elsewhere, *found = _Ring.apply(query, vectors, scale_of(temperature, query), local)  # type: ignore[misc]
    offset = own_log_q(log_q, target, elsewhere) if positive_mode == "sampled" else None
    return weighted(rows(raw + poison, Found(*found), offset, positive_mode), weight)


@dataclass(frozen=True, slots=True)
class _Local:
    """What a worker knows of its own rows and columns, without gradient."""

    target: Tensor
    log_q: Tensor | None
    ids: Tensor | None
    mask_hits: bool
    impl: str
    group: Any

    def problem(self, query: Tensor, scale: Tensor, block: list[Tensor], own: bool) -> tuple[Problem, Tensor]:
        """The worker's rows against a block of columns, its own or another's; the least log_q of a positive's copies."""
        vectors, *rest = block
        log_q = rest.pop(0) if self.log_q is not None else None
        target = self.target if own else torch.full_like(self.target, -1)
        named = None if self.ids is None else by_id(self.ids[self.target], rest[0])
        hits = by_place(target, len(vectors)) if named is None or not self.mask_hits else named
        elsewhere = scale.new_full(target.shape, torch.inf) if log_q is None or named is None else least(log_q, named)
        return Problem(query, vectors, scale, log_q, target, hits, hits is named, False), elsewhere

    def block(self, vectors: Tensor) -> list[Tensor]:
        return [x.contiguous() for x in (vectors, self.log_q, self.ids) if x is not None]


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, vectors: Tensor, scale: Tensor, local: _Local) -> tuple[Tensor, ...]:
        ctx.module, ctx.local = importlib.import_module(f"kernels.infonce.{local.impl}"), local
        merged: Found | None = None
        nearest = scale.new_full((len(query),), torch.inf)
        for step, block in enumerate(_round(local.block(vectors), local.group)):
            problem, elsewhere = local.problem(query, scale, block, step == 0)
            found, _ = ctx.module.forward(problem)
            merged = found if merged is None else _merge(merged, found)
            nearest = torch.minimum(nearest, elsewhere)
        assert merged is not None
        ctx.save_for_backward(query, vectors, scale, merged.rivals)
        ctx.mark_non_differentiable(nearest, *merged[1:])
        problem, _ = local.problem(query, scale, local.block(vectors), True)
        return own_scores(problem), nearest, *merged

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, own: Tensor, _: Tensor, rivals: Tensor, *others: Tensor) -> tuple[Tensor | None, ...]:
        query, vectors, scale, lse = ctx.saved_tensors
        local, nothing = ctx.local, scale.new_empty(0)
        found, wanted = Found(lse, *[nothing] * 5), Wanted(own, rivals, nothing)
        of_query, travelling = torch.zeros_like(query, dtype=lse.dtype), [torch.zeros_like(vectors, dtype=lse.dtype)]
        sizes = _sizes(vectors, local.group)
        for step, block in enumerate(_round(local.block(vectors), local.group)):
            problem, _ = local.problem(query, scale, block, step == 0)
            more, of_block = ctx.module.backward(problem, found, wanted)
            of_query += more
            travelling[0] += of_block
            if step == 0:
                add_own(problem, own, of_query, travelling[0])
            travelling = _passed_on(travelling, sizes, step, local.group)()
        of_scale = (query.to(lse.dtype) * of_query).sum() / scale
        return of_query.to(query.dtype), travelling[0].to(vectors.dtype), of_scale, None


def _round(block: list[Tensor], group: Any) -> Iterator[list[Tensor]]:
    """Every worker's block, the own one first; the next is on its way while one is used."""
    world = _world(group)
    sizes = _sizes(block[0], group)
    for step in range(world):
        arrival = _passed_on(block, sizes, step, group) if step + 1 < world else None
        yield block
        if arrival:
            block = arrival()


def _passed_on(block: list[Tensor], sizes: list[int], step: int, group: Any) -> Any:
    """Starts to send a block to the next worker and to receive the previous one's; call the result to wait for that.

    At `step` worker r holds the block that began at worker r - step.
    """
    world = _world(group)
    if world == 1:
        return lambda: block
    rank = dist.get_rank(group)
    size = sizes[(rank - 1 - step) % world]
    received = [x.new_empty(size, *x.shape[1:]) for x in block]
    after, before = ((rank + shift) % world for shift in (1, -1))
    after, before = ((r if group is None else dist.get_global_rank(group, r)) for r in (after, before))
    sends = [dist.P2POp(dist.isend, x, after, group) for x in block]
    receipts = [dist.P2POp(dist.irecv, x, before, group) for x in received]
    works = dist.batch_isend_irecv([*sends, *receipts])

    def wait() -> list[Tensor]:
        for work in works:
            work.wait()
        return received

    return wait


def _merge(some: Found, others: Found) -> Found:
    """What both blocks of columns hold together."""
    rivals = torch.logaddexp(some.rivals, others.rivals)
    square = torch.logaddexp(_square(some), _square(others))
    effective = (2 * rivals - square).exp().masked_fill(rivals == -torch.inf, 0)
    best, best_hit = torch.maximum(some.best, others.best), torch.maximum(some.best_hit, others.best_hit)
    return Found(rivals, best, effective, torch.logaddexp(some.hits, others.hits), best_hit, some.columns)


def _square(found: Found) -> Tensor:
    """[B] log of the sum of the squares of exp of the rivals' logits."""
    return (2 * found.rivals - found.effective.log()).masked_fill(found.rivals == -torch.inf, -torch.inf)


def _sizes(block: Tensor, group: Any) -> list[int]:
    """Every worker's number of columns."""
    own = torch.tensor([len(block)], device=block.device)
    if _world(group) == 1:
        return own.tolist()
    sizes = [torch.zeros_like(own) for _ in range(_world(group))]
    dist.all_gather(sizes, own, group)
    return torch.cat(sizes).tolist()


def _world(group: Any) -> int:
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1
