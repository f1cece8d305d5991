"""A recipe is all that a problem needs to know of the machinery: a world, a way to learn in it, a way to score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from time import process_time
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from recsys.diagnose.diagnosis import Evidence
from recsys.fingerprint import fingerprint_of
from recsys.train.fit import Fit
from recsys.worlds.world import World

Metrics = Mapping[str, float]
R = TypeVar("R")


@runtime_checkable
class Recipe(Protocol):
    """A frozen value: its fields are the knobs. What it learns depends on (knobs, logs, seed) and on nothing else."""

    @property
    def world(self) -> World: ...

    def fit(self, logs: Any, seed: int) -> Any:
        """Learn from the logs; the truth isn't here to be read."""
        ...

    def evaluate(self, fitted: Any, logs: Any, truth: Any) -> Metrics:
        """Score what was learnt. Reserved names: parameters, steps, validation, unsettled (see recsys/train/fit.py)."""
        ...


@runtime_checkable
class Diagnosable(Protocol):
    """A recipe that can show what a practitioner would have of the system that it made."""

    def evidence(self, fitted: Any, logs: Any, seed: int) -> Evidence: ...


@runtime_checkable
class Together(Protocol):
    """A recipe that trains several seeds as one batched model, to the same weights."""

    def fit_together(self, logs: Sequence[Any], seeds: Sequence[int]) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one seed of one recipe came to."""

    seed: int
    metrics: Metrics
    seconds: float  # CPU seconds of this process, world and scoring included


def run(recipe: Recipe, seeds: Sequence[int]) -> list[Outcome]:
    """Sample, learn and score each seed; seeds that can be trained together share their CPU time evenly."""
    if isinstance(recipe, Together) and len(seeds) > 1:
        return _run_together(recipe, seeds)
    return [_run_one(recipe, seed) for seed in seeds]


def fingerprint(recipe: Recipe) -> str:
    """Equal knobs have equal fingerprints, in every process."""
    return fingerprint_of(type(recipe), recipe)


def with_steps(held: R, steps: int) -> R:
    """The same value with every `Fit` in it, at any depth, cut to at most so many steps."""
    if isinstance(held, Fit):
        return cast(R, replace(held, steps=min(held.steps, steps)))
    if isinstance(held, tuple) and type(held) is tuple:
        return cast(R, tuple(with_steps(item, steps) for item in held))
    if not is_dataclass(held) or isinstance(held, type):
        return held
    inner = {field.name: getattr(held, field.name) for field in fields(held) if field.init}
    return cast(R, replace(cast(Any, held), **{name: with_steps(item, steps) for name, item in inner.items()}))


def _run_one(recipe: Recipe, seed: int) -> Outcome:
    began = process_time()
    logs, truth = recipe.world.sample(seed)
    metrics = recipe.evaluate(recipe.fit(logs, seed), logs, truth)
    return Outcome(seed, _plain(metrics), process_time() - began)


def _run_together(recipe: Any, seeds: Sequence[int]) -> list[Outcome]:
    began = process_time()
    samples = [recipe.world.sample(seed) for seed in seeds]
    fitted = recipe.fit_together([logs for logs, _ in samples], seeds)
    rows = [_plain(recipe.evaluate(one, logs, truth)) for one, (logs, truth) in zip(fitted, samples, strict=True)]
    each = (process_time() - began) / len(seeds)
    return [Outcome(seed, metrics, each) for seed, metrics in zip(seeds, rows, strict=True)]


def _plain(metrics: Metrics) -> dict[str, float]:
    return {name: float(held) for name, held in metrics.items()}
