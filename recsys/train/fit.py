"""Training of a small model on rows held in memory, for one seed or for several seeds as one batched model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from recsys.random import torch_rng
from recsys.train.record import Recorder
from recsys.train.schedule import warmup_cosine
from recsys.value import require, value

Backward = Callable[[Tensor], None]


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt: rows, a loss over some of them, and a score on logged validation data."""

    columns: tuple[Tensor, ...]  # [N, ...] each; row i of all of them is one example
    loss: Callable[..., Tensor]  # loss(model, *rows) -> a scalar, or [T] for tasks; `model` is called, no more
    validate: Callable[[nn.Module], float] | None = None  # higher is better; from the logs alone
    draw: Callable[[int], Tensor] | None = None  # step -> rows [b]; None: shuffled epochs of the fit's batch size
    backward: Callable[[nn.Module], Backward] | None = None  # how [T] losses become gradients; None: their sum


@dataclass(frozen=True)
class Fitted:
    """A trained model with its validation curve, and a record of its steps where it was trained by itself."""

    model: nn.Module
    curve: tuple[float, ...]  # validation at evenly spaced steps, the last one at the end; empty without validation
    steps: int
    recorder: Recorder = field(default_factory=Recorder, kw_only=True)

    def stats(self) -> dict[str, float]:
        """parameters, steps, validation, unsettled: the reserved metrics by which arms are held to be fair.

        unsettled is the change of the mean validation score between the last two quarters of training, as a share of the
        range that the curve went through: below 0.1 a longer training would hardly change the answer.
        """
        held = {"parameters": float(sum(p.numel() for p in self.model.parameters())), "steps": float(self.steps)}
        return held | ({"validation": self.curve[-1], "unsettled": unsettled(self.curve)} if self.curve else {})


@value
class Fit:
    """Adam with warm-up, cosine decay and clipping (Kingma & Ba, 2015); the same for every arm of a problem."""

    steps: int = 400
    batch: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.0  # decoupled
    warmup: float = 0.05  # share of the steps
    clip: float | None = 1.0  # norm of the gradient
    checks: int = 8

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"steps must be at least 1, got {self.steps}")
        require(self.batch >= 1, f"batch must be at least 1, got {self.batch}")
        require(self.learning_rate > 0, f"learning_rate must be positive, got {self.learning_rate}")

    def __call__(self, model: nn.Module, lesson: Lesson, seed: int) -> Fitted:
        """Train the model in place. Rows come from the stream (seed, "batches"), whatever the model is."""
        rows = draws(lesson, self.batch, seed)
        optimiser = self.optimiser(model.parameters())
        backward = lesson.backward(model) if lesson.backward else _summed
        marks, curve, recorder = self.marks(), [], Recorder()
        for step in range(self.steps):
            self.schedule(optimiser, step)
            taken = next(rows)
            model.train()
            optimiser.zero_grad(set_to_none=True)
            losses = lesson.loss(model, *(column[taken] for column in lesson.columns))
            backward(losses)
            recorder.step(losses, model)
            if self.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), self.clip)
            optimiser.step()
            if lesson.validate and step + 1 in marks:
                curve.append(validated(model, lesson))
        return Fitted(model.eval(), tuple(curve), self.steps, recorder=recorder)

    def together(self, models: Sequence[nn.Module], lessons: Sequence[Lesson], seeds: Sequence[int]) -> list[Fitted]:
        """Train one copy for each seed as one batched model: to the same weights, in a part of the time.

        Models must have the same shape, and so must the lessons' columns; losses must be those of lesson 0, without
        dropout and without branches on values (they run under torch.func.vmap).
        """
        require(all(lesson.backward is None for lesson in lessons), "a backward of its own can't be batched over seeds")
        params, buffers = stack_module_state(list(models))
        columns = [torch.stack(held) for held in zip(*(lesson.columns for lesson in lessons), strict=True)]
        rows = [draws(lesson, self.batch, seed) for lesson, seed in zip(lessons, seeds, strict=True)]
        optimiser = self.optimiser(params.values())
        marks, curves, copy = self.marks(), [[] for _ in seeds], torch.arange(len(seeds))[:, None]

        def loss(weights: dict[str, Tensor], held: dict[str, Tensor], *taken: Tensor) -> Tensor:
            return lessons[0].loss(lambda *given: functional_call(models[0], (weights, held), given), *taken).sum()

        for step in range(self.steps):
            self.schedule(optimiser, step)
            taken = torch.stack([next(row) for row in rows])  # [S, b]
            models[0].train()  # a check leaves it serving
            optimiser.zero_grad(set_to_none=True)
            vmap(loss, randomness="different")(
                params, buffers, *(column[copy, taken] for column in columns)
            ).sum().backward()
            self._clip_each(params)
            optimiser.step()
            if step + 1 in marks:
                for i, (model, lesson) in enumerate(zip(models, lessons, strict=True)):
                    if lesson.validate:
                        _unstack(model, params, i)
                        curves[i].append(validated(model, lesson))
        for i, model in enumerate(models):
            _unstack(model, params, i)
        return [Fitted(model.eval(), tuple(curve), self.steps) for model, curve in zip(models, curves, strict=True)]

    def optimiser(self, params: Any) -> torch.optim.Optimizer:
        return torch.optim.AdamW(params, lr=self.learning_rate, weight_decay=self.weight_decay)

    def schedule(self, optimiser: torch.optim.Optimizer, step: int) -> None:
        for group in optimiser.param_groups:
            group["lr"] = self.learning_rate * warmup_cosine(step, self.steps, self.warmup)

    def marks(self) -> set[int]:
        """The numbers of steps after which validation is looked at."""
        return {max(1, round(self.steps * (i + 1) / self.checks)) for i in range(self.checks)}

    def _clip_each(self, params: dict[str, Tensor]) -> None:
        if self.clip is None:
            return
        grads = [p.grad for p in params.values() if p.grad is not None]
        norms = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)  # [S]
        factor = (self.clip / (norms + 1e-6)).clamp(max=1.0)
        for grad in grads:
            grad.mul_(factor.view(-1, *[1] * (grad.ndim - 1)))


def draws(lesson: Lesson, batch: int, seed: int) -> Iterator[Tensor]:
    """Rows of every step: the lesson's own, or shuffled epochs without the last, smaller batch."""
    if lesson.draw is not None:
        step = 0
        while True:
            yield lesson.draw(step)
            step += 1
    generator, num = torch_rng(seed, "batches"), len(lesson.columns[0])
    require(num > 0, "there are no rows to learn from")
    while True:
        order = torch.randperm(num, generator=generator)
        for start in range(0, max(1, num - batch + 1), batch):
            yield order[start : start + batch]


def unsettled(curve: Sequence[float]) -> float:
    """Change of the mean between the last two quarters of the curve over the curve's range; NaN below 4 points."""
    if len(curve) < 4:
        return float("nan")
    held, quarter = torch.tensor(curve, dtype=torch.float64), len(curve) // 4
    change = held[-quarter:].mean() - held[-2 * quarter : -quarter].mean()
    return float(change.abs() / (held.max() - held.min()).clamp(min=1e-12))


@torch.no_grad()
def validated(model: nn.Module, lesson: Lesson) -> float:
    assert lesson.validate is not None
    model.eval()
    return float(lesson.validate(model))


def _summed(losses: Tensor) -> None:
    losses.sum().backward()


@torch.no_grad()
def _unstack(model: nn.Module, params: dict[str, Tensor], copy: int) -> None:
    for name, held in model.named_parameters():
        held.copy_(params[name][copy])
