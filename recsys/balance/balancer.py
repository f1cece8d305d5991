"""Several losses, one step: how much of each task's gradient goes into the parameters that the tasks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from recsys.value import require


class Shares(NamedTuple):
    """Coefficients of the tasks' gradients: in shared parameters, and in parameters that a task has to itself.

    A weight on a loss acts on both. Surgery, such as PCGrad, acts on the shared ones alone: a task's own parameters have
    no other gradient to be in conflict with.
    """

    shared: Tensor  # [T]
    own: Tensor  # [T]

    @classmethod
    def loss_weights(cls, weights: Tensor) -> Shares:
        return cls(weights, weights)


Balance = Callable[[Tensor, Tensor], Shares]
"""One run's balance, which may remember: losses [T] and the Gram matrix [T, T] of their shared gradients -> shares.

Both are float64 without gradient. The matrix holds g_i . g_j, so norms and cosines are all in it, and its size doesn't
depend on the model's.
"""


class Balancer(Protocol):
    """A frozen value; `start` begins a run of its own, whose draws come from the stream (seed, "balance")."""

    def start(self, tasks: int, seed: int) -> Balance: ...


@dataclass
class Trace:
    """What the shared gradients of every `every`-th step looked like: their Gram matrices and the losses."""

    every: int = 1
    steps: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)  # [T] each
    grams: list[Tensor] = field(default_factory=list)  # [T, T] each


@dataclass(frozen=True)
class Balanced:
    """A lesson's `backward`: [T] losses become gradients, shared parameters' through the balancer.

    `shared` picks the parameters that every task uses; all others must each belong to one task. Without a balancer the
    losses are summed. A balanced step costs T backward passes; so does a traced one.
    """

    shared: Callable[[nn.Module], Sequence[nn.Parameter]]
    tasks: int
    seed: int
    balancer: Balancer | None = None
    trace: Trace | None = None

    def __call__(self, model: nn.Module) -> Callable[[Tensor], None]:
        common = [p for p in self.shared(model) if p.requires_grad]
        held = {id(p) for p in common}
        params = common + [p for p in model.parameters() if id(p) not in held and p.requires_grad]
        balance = self.balancer.start(self.tasks, self.seed) if self.balancer else None
        count = _counter()

        def backward(losses: Tensor) -> None:
            require(losses.shape == (self.tasks,), f"expected [{self.tasks}] losses, got {tuple(losses.shape)}")
            step = next(count)
            seen = self.trace is not None and step % self.trace.every == 0
            if balance is None and not seen:
                losses.sum().backward()
                return
            grads = [_gradients(losses, task, params) for task in range(self.tasks)]
            flat = torch.stack([_flat(row[: len(common)]) for row in grads])
            told, gram = losses.detach().double(), flat @ flat.T
            if self.trace is not None and seen:
                self.trace.steps.append(step)
                self.trace.losses.append(told)
                self.trace.grams.append(gram)
            ones = torch.ones(self.tasks, dtype=torch.float64)
            _assign(params, grads, len(common), balance(told, gram) if balance else Shares(ones, ones))

        return backward


def norms(gram: Tensor) -> Tensor:
    """[T] lengths of the gradients of a Gram matrix [T, T]."""
    return gram.diagonal().clamp(min=0).sqrt()


def scaled(gram: Tensor, weights: Tensor) -> Tensor:
    """The Gram matrix after the gradients were multiplied by weights [T]."""
    return gram * weights[:, None] * weights


def _counter() -> Iterator[int]:
    step = 0
    while True:
        yield step
        step += 1


def _gradients(losses: Tensor, task: int, params: Sequence[nn.Parameter]) -> list[Tensor]:
    found = torch.autograd.grad(losses[task], params, retain_graph=task + 1 < len(losses), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(params, found, strict=True)]


def _flat(grads: Sequence[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in grads] or [torch.zeros(1)]).double()


def _assign(params: Sequence[nn.Parameter], grads: list[list[Tensor]], common: int, shares: Shares) -> None:
    shared, own = shares.shared.tolist(), shares.own.tolist()
    for i, p in enumerate(params):
        weights = shared if i < common else own
        total = torch.zeros_like(p)
        for weight, row in zip(weights, grads, strict=True):
            total.add_(row[i], alpha=weight)
        p.grad = total
