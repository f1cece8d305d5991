"""A small problem for the machinery's own tests: a line fitted to labels that a switch spoils."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from recsys.claims.kinds import Keeps, Moves, Recovers
from recsys.claims.problem import STANDARD_DIAGNOSIS, Case, Problem, Sweep, Tuning
from recsys.diagnose.diagnosis import HEALTHY, Diagnosis, Evidence, Part, Row
from recsys.random import torch_rng
from recsys.recipe import Metrics
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import value
from recsys.worlds.truth import Truth
from recsys.worlds.world import Logs, Sample, World


@dataclass(frozen=True)
class LineLogs(Logs):
    x: Tensor  # [N, 3]
    y: Tensor  # [N] with a share of labels replaced by a constant


@dataclass(frozen=True)
class LineTruth(Truth):
    mean: Tensor  # [N]


@value
class LineWorld:
    """y = w . x + noise; a share of the labels is spoilt."""

    spoilt: float = 0.0
    noise: float = 0.1
    num_rows: int = 256

    def sample(self, seed: int) -> Sample:
        x = torch.randn(self.num_rows, 3, generator=torch_rng(seed, "x"))
        mean = x @ torch.tensor([1.0, -2.0, 0.5])
        y = mean + self.noise * torch.randn(self.num_rows, generator=torch_rng(seed, "noise"))
        bad = torch.rand(self.num_rows, generator=torch_rng(seed, "spoilt")) < self.spoilt
        return Sample(LineLogs(x, y.masked_fill(bad, 6.0)), LineTruth(mean))


@dataclass(frozen=True)
class Labels(Part):
    y: Tensor


@value
class SpoiltLabels:
    """Spoilt where one value makes more than a tenth of the labels: continuous labels don't repeat."""

    share: float = 0.1
    needs: ClassVar[tuple[type[Part], ...]] = (Labels,)
    causes: ClassVar[tuple[str, ...]] = ("spoilt",)

    def __call__(self, evidence: Evidence) -> Diagnosis:
        y = evidence.get(Labels).y
        mode = float((y[:, None] == y[None]).float().mean(1).max())
        row = Row("share of the commonest label", mode, self.share)
        return Diagnosis("spoilt" if mode > self.share else HEALTHY, {"spoilt": mode}, (row,))


@value
class Line:
    """A linear model, by squares or with labels of a repeated value left out."""

    world: World
    drop: bool = False
    ceiling: bool = False
    train: Fit = Fit(steps=200, batch=64, learning_rate=0.05)

    def lesson(self, logs: LineLogs) -> Lesson:
        keep = logs.y != 6.0 if self.drop else torch.ones_like(logs.y, dtype=torch.bool)

        def validate(model: nn.Module) -> float:
            return -float((model(logs.x).squeeze(-1) - logs.y).abs().median())

        return Lesson((logs.x, logs.y, keep), _squares, validate)

    def model(self, seed: int) -> nn.Module:
        model = nn.Linear(3, 1)
        generator = torch_rng(seed, "init")
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
        return model

    def fit(self, logs: LineLogs, seed: int) -> Fitted:
        return self.train(self.model(seed), self.lesson(logs), seed)

    def evaluate(self, fitted: Fitted, logs: LineLogs, truth: LineTruth) -> Metrics:
        with torch.no_grad():
            guess = truth.mean if self.ceiling else fitted.model(logs.x).squeeze(-1)
        return {"error": float((guess - truth.mean).square().mean().sqrt()), **fitted.stats()}

    def evidence(self, fitted: Fitted, logs: LineLogs, seed: int) -> Evidence:
        return Evidence.of(Labels(logs.y))


@value
class LineTogether(Line):
    """The same, several seeds as one batched model."""

    def fit_together(self, logs: Sequence[LineLogs], seeds: Sequence[int]) -> list[Fitted]:
        models = [self.model(seed) for seed in seeds]
        return self.train.together(models, [self.lesson(held) for held in logs], seeds)


def _squares(model: Any, x: Tensor, y: Tensor, keep: Tensor) -> Tensor:
    return ((model(x).squeeze(-1) - y).square() * keep).mean()


def recipe(
    *, drop: bool = False, ceiling: bool = False, together: bool = False, learning_rate: float = 0.05, **world: Any
) -> Line:
    made: type[Line] = LineTogether if together else Line
    fit = Fit(steps=200, batch=64, learning_rate=learning_rate)
    return made(world=LineWorld(**world), drop=drop, ceiling=ceiling, train=fit)


def healthy(**given: Any) -> Line:
    return recipe(**{**given, "spoilt": 0.0})


def problem(kind: Literal["plain", "together"] = "plain") -> Problem:
    made = partial(recipe, together=kind == "together")
    return Problem(
        title="A line through spoilt labels",
        area="toy",
        arms={
            "healthy": partial(healthy, together=kind == "together"),
            "baseline": made,
            "drop": partial(made, drop=True),
            "ceiling": partial(made, ceiling=True),
        },
        world={"on": {"spoilt": 0.3}, "off": {"spoilt": 0.0}},
        symptom=(Moves(metric="error", arm="baseline", versus="healthy", by=0.5),),
        diagnosis=STANDARD_DIAGNOSIS,
        remedy=(Recovers(metric="error", arm="drop", broken="baseline", healthy="healthy", share=0.8),),
        guard=(Keeps(metric="error", arm="drop", versus="healthy", within=0.1, side="above"),),
        control=(Keeps(metric="error", arm="drop", versus="baseline", within=0.1, at="off"),),
        detector=SpoiltLabels(),
        cases=(
            Case(cause="spoilt", arm="baseline", world={"spoilt": 0.3}),
            Case(cause="spoilt", arm="baseline", world={"spoilt": 0.2}, fresh=True),
            Case(cause=HEALTHY, arm="baseline", world={"spoilt": 0.0}),
            Case(cause=HEALTHY, arm="baseline", world={"spoilt": 0.0, "noise": 0.5}, fresh=True),
        ),
        ceiling="ceiling",
        tuning=Tuning(space={"learning_rate": (0.05, 0.02)}, trials=2, per_setting=True),
        sweep=Sweep(axes={"spoilt": (0.0, 0.15, 0.3)}, arms=("baseline", "drop"), metric="error"),
    )
