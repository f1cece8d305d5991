"""Which task's rows make a batch, where every task has a log of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value

Draw = Callable[[int], Tensor]  # step -> rows [b]


@value
class MixedTasks:
    """Every batch holds the same number of rows of every task, drawn with replacement from the task's log."""

    def __call__(self, task: Tensor, batch: int, seed: int) -> Draw:
        rows = by_task(task)
        each = max(1, batch // len(rows))

        def draw(step: int) -> Tensor:
            generator = torch_rng(seed, "batches", step)
            return torch.cat([pick(held, each, generator) for held in rows])

        return draw


@value
class TaskBlocks:
    """One task makes nearly the whole batch for `length` steps, then the next one: what reading log after log gives."""

    length: int = 10
    purity: float = 1.0  # share of the batch that is the block's task; the rest is spread over the other tasks

    def __post_init__(self) -> None:
        require(self.length > 0, f"length must be a positive number of steps, got {self.length}")
        require(0 < self.purity <= 1, f"purity must lie in (0, 1], got {self.purity}")

    def __call__(self, task: Tensor, batch: int, seed: int) -> Draw:
        rows = by_task(task)
        others = round(batch * (1 - self.purity) / max(1, len(rows) - 1))

        def draw(step: int) -> Tensor:
            generator, now = torch_rng(seed, "batches", step), step // self.length % len(rows)
            counts = [others if t != now else batch - others * (len(rows) - 1) for t in range(len(rows))]
            return torch.cat([pick(held, n, generator) for held, n in zip(rows, counts, strict=True)])

        return draw


def by_task(task: Tensor) -> list[Tensor]:
    """The rows of each task, for task [N] in 0..T-1. Raises ValueError for a task without rows."""
    rows = [(task == t).nonzero()[:, 0] for t in range(int(task.max()) + 1)]
    require(all(len(held) for held in rows), f"every task needs rows, there are {[len(held) for held in rows]}")
    return rows


def pick(rows: Tensor, num: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randint(len(rows), (num,), generator=generator)]
