"""The pool of items on offer to the queries of a step: where they come from, and how often each was to be expected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.data.spec import FIRST
from recsys.value import require, value


@dataclass(frozen=True, slots=True)
class Candidates:
    """The items that compete for every query of a batch; log_q is +inf where an item competes at another place."""

    vectors: Tensor  # [N, D]
    ids: Tensor  # [N] int64
    log_q: Tensor  # [N] log of the expected number of times that the source puts the item into the pool

    def __len__(self) -> int:
        return self.ids.shape[0]


@dataclass(frozen=True, slots=True)
class Offer:
    """What a source puts on offer: the positives first, then the extra items."""

    items: Tensor  # [N] int64
    log_q: Tensor  # [N] float32
    target: Tensor  # [P] places of the positives, 0 to P - 1


class Source(Protocol):
    """Puts items beside the positives of a step. The same generator state gives the same offer everywhere."""

    def __call__(self, positives: Tensor, log_p: Tensor, generator: torch.Generator) -> Offer: ...


class Extra(Protocol):
    """A source of extra items that knows how often it is to be expected to offer any item."""

    def extra(self, log_p: Tensor, generator: torch.Generator) -> Tensor: ...

    def log_count(self, items: Tensor, log_p: Tensor) -> Tensor: ...


@value
class InBatch:
    """The positives of the other requests are the negatives: items are offered as often as they are taken."""

    def __call__(self, positives: Tensor, log_p: Tensor, generator: torch.Generator) -> Offer:
        return _offer(positives, log_p, generator, ())


@value
class Uniform:
    """`num` extra items drawn uniformly, with replacement, from the real items."""

    num: int

    def __post_init__(self) -> None:
        require(self.num > 0, f"Uniform.num must be positive, got {self.num}; use InBatch for no extra items")

    def __call__(self, positives: Tensor, log_p: Tensor, generator: torch.Generator) -> Offer:
        return _offer(positives, log_p, generator, (self,))

    def extra(self, log_p: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.randint(FIRST, log_p.shape[0], (self.num,), generator=generator, device=generator.device)
        return drawn.to(log_p.device)

    def log_count(self, items: Tensor, log_p: Tensor) -> Tensor:
        return torch.full_like(log_p[items], math.log(self.num / (log_p.shape[0] - FIRST)))


@value
class Popular:
    """`num` extra items drawn, with replacement, in proportion to the power `power` of their frequency.

    A power of 0.75 is word2vec's (Mikolov et al. 2013).
    """

    num: int
    power: float = 1.0

    def __post_init__(self) -> None:
        require(self.num > 0, f"Popular.num must be positive, got {self.num}; use InBatch for no extra items")

    def __call__(self, positives: Tensor, log_p: Tensor, generator: torch.Generator) -> Offer:
        return _offer(positives, log_p, generator, (self,))

    def extra(self, log_p: Tensor, generator: torch.Generator) -> Tensor:
        # inverse of the distribution function: multinomial stops at 2^24 categories
        total = self._log_share(log_p)[FIRST:].double().exp().cumsum(0)
        points = torch.rand(self.num, generator=generator, device=generator.device, dtype=torch.float64)
        drawn = torch.searchsorted(total, points.to(total.device) * total[-1], right=True)
        return FIRST + drawn.clamp(max=total.shape[0] - 1)

    def log_count(self, items: Tensor, log_p: Tensor) -> Tensor:
        return math.log(self.num) + self._log_share(log_p)[items]

    def _log_share(self, log_p: Tensor) -> Tensor:
        raised = self.power * log_p
        return raised - raised[FIRST:].logsumexp(0)


@value
class Mixed:
    """The extra items of several sources together; an item's expected count is the sum over them."""

    sources: tuple[InBatch | Uniform | Popular, ...]

    def __post_init__(self) -> None:
        require(len(self.sources) > 0, "Mixed.sources must name at least one source, such as Uniform(num=512)")

    def __call__(self, positives: Tensor, log_p: Tensor, generator: torch.Generator) -> Offer:
        extras = tuple(source for source in self.sources if not isinstance(source, InBatch))
        return _offer(positives, log_p, generator, extras)


@value
class Corpus:
    """Every real item once: with hits masked, the sampled softmax is the full softmax over the catalogue.

    The positives' own places carry log_q = +inf, so that an item that is taken often doesn't compete more than once.
    """

    def __call__(self, positives: Tensor, log_p: Tensor, generator: torch.Generator) -> Offer:
        every = torch.arange(FIRST, log_p.shape[0], device=positives.device)
        nowhere = log_p.new_full(positives.shape, torch.inf)
        log_q = torch.cat([nowhere, log_p.new_zeros(every.shape)])
        return Offer(torch.cat([positives, every]), log_q, _places(positives))


def concat(first: Candidates, second: Candidates) -> Candidates:
    """The items of both pools, those of the first at their places."""
    return Candidates(
        torch.cat([first.vectors, second.vectors]),
        torch.cat([first.ids, second.ids]),
        torch.cat([first.log_q, second.log_q]),
    )


def remember(memory: Candidates | None, pool: Candidates, limit: int) -> Candidates:
    """The newest `limit` candidates of past pools, oldest first, without gradient (Wang et al. 2020)."""
    fresh = Candidates(pool.vectors.detach(), pool.ids, pool.log_q)
    held = fresh if memory is None else concat(memory, fresh)
    start = max(0, len(held) - limit)
    return Candidates(held.vectors[start:], held.ids[start:], held.log_q[start:])


def gather(pool: Candidates, target: Tensor) -> tuple[Candidates, Tensor]:
    """The pools of all workers in rank order, and this worker's targets in them.

    Sizes may differ from worker to worker. The gradient of every worker's loss reaches the worker that owns the
    vector: summed over workers, then cut. Without a process group both come back as they are.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return pool, target
    counts = [torch.zeros_like(target.new_empty(1)) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, target.new_full((1,), len(pool)))
    sizes = tuple(int(count) for count in counts)
    everything = Candidates(
        _GatherRows.apply(pool.vectors, sizes),  # type: ignore[arg-type]
        _gather_rows(pool.ids, sizes),
        _gather_rows(pool.log_q, sizes),
    )
    return everything, target + sum(sizes[: dist.get_rank()])


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
        ctx.sizes = sizes  # type: ignore[attr-defined]
        return _gather_rows(rows, sizes)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        sizes = ctx.sizes  # type: ignore[attr-defined]
        start = sum(sizes[: dist.get_rank()])
        return summed[start : start + sizes[dist.get_rank()]], None


def _gather_rows(rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
    padded = rows.new_zeros((max(1, *sizes), *rows.shape[1:]))
    padded[: rows.shape[0]] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _offer(positives: Tensor, log_p: Tensor, generator: torch.Generator, sources: tuple[Extra, ...]) -> Offer:
    items = torch.cat([positives, *(source.extra(log_p, generator).to(positives) for source in sources)])
    in_batch = log_p[items] + (math.log(positives.shape[0]) if positives.shape[0] else -math.inf)
    log_counts = [in_batch, *(source.log_count(items, log_p) for source in sources)]
    return Offer(items, torch.stack(log_counts).logsumexp(0), _places(positives))


def _places(positives: Tensor) -> Tensor:
    return torch.arange(positives.shape[0], device=positives.device)
