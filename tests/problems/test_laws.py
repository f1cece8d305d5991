"""The laws catch planted cheats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from recsys.claims.kinds import Keeps, Moves
from recsys.diagnose.diagnosis import Evidence, Part
from recsys.train.fit import Fitted
from recsys.value import value
from tests.problems import laws
from tests.problems.toy import Line, LineLogs, LineWorld, problem, recipe


@value
class ReadsTruth(Line):
    """A trainer that samples the world once more, to take the labels from the truth."""

    def fit(self, logs: LineLogs, seed: int) -> Fitted:
        return self.train(self.model(seed), self.lesson(replace(logs, y=self.world.sample(seed).truth.mean)), seed)


@dataclass(frozen=True)
class Leak(Part):
    world: Any


@value
class ShowsKnob(Line):
    """Evidence that carries the world."""

    def evidence(self, fitted: Fitted, logs: LineLogs, seed: int) -> Evidence:
        return Evidence.of(Leak(LineWorld(spoilt=0.3)))


@value
class ShowsTruth(Line):
    """Evidence made of the truth."""

    def evidence(self, fitted: Fitted, logs: LineLogs, seed: int) -> Evidence:
        base = Line(world=self.world).evidence(fitted, logs, seed)
        labels = next(iter(base.parts.values()))
        return Evidence.of(replace(labels, y=self.world.sample(seed).truth.mean))  # type: ignore[type-var]


def test_an_honest_problem_passes_every_law() -> None:
    toy = problem()
    laws.arms_differ_in_few_knobs(toy)
    laws.symptom_is_against_the_healthy(toy)
    laws.guards_are_against_the_healthy(toy)
    laws.truth_changes_nothing(recipe(spoilt=0.3))
    laws.evidence_is_plain_and_blind(recipe(spoilt=0.3), toy)


def test_a_trainer_that_reads_the_truth_is_caught() -> None:
    with pytest.raises(AssertionError, match="depends on the truth"):
        laws.truth_changes_nothing(ReadsTruth(world=LineWorld(spoilt=0.3)))


def test_evidence_that_carries_the_knob_is_caught() -> None:
    with pytest.raises(AssertionError, match="is a world"):
        laws.evidence_is_plain_and_blind(ShowsKnob(world=LineWorld()), problem())


def test_evidence_made_of_the_truth_is_caught() -> None:
    with pytest.raises(AssertionError, match="evidence depends on the truth"):
        laws.evidence_is_plain_and_blind(ShowsTruth(world=LineWorld()), problem())


def test_a_guard_measured_against_the_baseline_is_caught() -> None:
    guard = Keeps(metric="error", arm="drop", versus="baseline", within=0.1)
    with pytest.raises(AssertionError, match="against the healthy"):
        laws.guards_are_against_the_healthy(replace(problem(), guard=(guard,)))


def test_a_symptom_measured_against_the_remedy_is_caught() -> None:
    symptom = Moves(metric="error", arm="baseline", versus="drop", by=0.5)
    with pytest.raises(AssertionError, match="not a remedy"):
        laws.symptom_is_against_the_healthy(replace(problem(), symptom=(symptom,)))


def test_cases_without_a_rival_are_caught() -> None:
    with pytest.raises(AssertionError, match="no rival to reject"):
        laws.cases_are_complete(problem())


def test_an_arm_that_is_another_model_is_caught() -> None:
    def other(**world: Any) -> Line:
        return Line(world=LineWorld(noise=1.0, num_rows=300, spoilt=0.9), drop=True, ceiling=True,
                    train=replace(recipe().train, batch=7, clip=None, learning_rate=1.0))  # fmt: skip

    toy = problem()
    with pytest.raises(AssertionError, match="other differs from"):
        laws.arms_differ_in_few_knobs(replace(toy, arms={**toy.arms, "other": partial(other)}))


def test_unfair_arms_are_caught() -> None:
    cells = {
        ("a", "on"): {100: {"parameters": 100.0, "steps": 4.0}},
        ("b", "on"): {100: {"parameters": 150.0, "steps": 4.0}},
    }
    with pytest.raises(AssertionError, match="parameters differ"):
        laws.arms_are_fair(problem(), cells)


def test_figures_in_prose_are_caught() -> None:
    with pytest.raises(AssertionError, match="holds figures"):
        laws.no_figures_in_prose({"Answer": "recall falls to .317"})
