"""One unit of work: a few seeds of one recipe, in one process, to records. Whoever runs units decides where."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import process_time
from typing import Any

import torch

from recsys.claims.problem import ON, Case, Problem, Setting, setting_name
from recsys.claims.records import Kind, Record, commit, versions
from recsys.diagnose.diagnosis import Detector, Diagnosis, Evidence
from recsys.fingerprint import fingerprint_of
from recsys.random import rng
from recsys.recipe import Diagnosable, Recipe, Together, fingerprint, run, with_steps
from recsys.value import require

SMOKE_STEPS = 2


@dataclass(frozen=True, slots=True)
class Unit:
    """What a process needs to make records: values only, so that it travels to a worker."""

    kind: Kind
    arm: str
    setting: str
    recipe: Recipe
    seeds: tuple[int, ...]
    scale: str
    detector: Detector | None = None  # of a case
    told: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        own = fingerprint(self.recipe)
        return own if self.detector is None else fingerprint_of(own, type(self.detector), self.detector)

    def key(self, seed: int) -> tuple[str, str, str, int, str, str]:
        return self.kind, self.arm, self.setting, seed, self.fingerprint, self.scale

    def only(self, seeds: Sequence[int]) -> Unit:
        return replace(self, seeds=tuple(seeds))


def work(unit: Unit) -> list[Record]:
    """Do it. One thread: units run side by side."""
    torch.set_num_threads(1)
    if unit.detector is not None:
        return [_diagnosed(unit, seed) for seed in unit.seeds]
    return [
        _record(unit, outcome.seed, outcome.metrics, outcome.seconds, unit.told)
        for outcome in run(unit.recipe, unit.seeds)
    ]


def case_evidence(recipe: Recipe, seed: int) -> Evidence:
    """What a practitioner would have of the system that the recipe makes with this seed."""
    require(isinstance(recipe, Diagnosable), f"{type(recipe).__name__} has no evidence(), so no case can be made of it")
    assert isinstance(recipe, Diagnosable)
    assert isinstance(recipe, Recipe)
    logs = recipe.world.sample(seed).logs
    return recipe.evidence(recipe.fit(logs, seed), logs, seed)


def cells(problem: Problem, seeds: Sequence[int], scale: str, knobs: Knobs, override: Setting) -> list[Unit]:
    """A unit for every cell of the problem's tables and claims."""
    return [
        _unit(problem, ("cell", arm, at), problem.world[at] | dict(override), (seeds, scale), knobs(arm, at))
        for arm, at in problem.cells()
    ]


def cases(problem: Problem, seeds: Sequence[int], scale: str, knobs: Knobs, override: Setting) -> list[Unit]:
    """A unit for every fault that the detector is scored on."""
    found = []
    for case in problem.cases:
        made = _unit(problem, ("case", case.arm, case_setting(case)), dict(override) | case.world, (seeds, scale),
                     knobs(case.arm, ON))  # fmt: skip
        found.append(replace(made, detector=problem.detector, told={"cause": case.cause, "fresh": case.fresh}))
    return found


def case_setting(case: Case) -> str:
    return f"{case.cause}: {case.name}"


def sweep(problem: Problem, seeds: Sequence[int], scale: str, knobs: Knobs, override: Setting) -> list[Unit]:
    """A unit for every arm at every point of the problem's sweep, around its world "on"."""
    if problem.sweep is None:
        return []
    return [
        _unit(problem, ("sweep", arm, setting_name(point)), problem.world[ON] | dict(override) | point, (seeds, scale),
              knobs(arm, ON))
        for point in problem.sweep.settings()
        for arm in problem.sweep.arms
    ]  # fmt: skip


def real(problem: Problem, seeds: Sequence[int], scale: str, knobs: Knobs, override: Setting) -> list[Unit]:
    """A unit for every arm on real data."""
    del override  # a real world has no switches
    return [_unit(problem, ("real", arm, "real"), {}, (seeds, scale), knobs(arm, "real")) for arm in problem.real]


def trials(problem: Problem, scale: str, arms: Sequence[str] | None = None) -> list[Unit]:
    """The tuning of every arm: the same draws for all that share a space, the same number for all."""
    if problem.tuning is None:
        return []
    settings = list(problem.world) if problem.tuning.per_setting else [ON]
    return [
        replace(
            _unit(problem, ("trial", arm, f"{at}: {setting_name(knobs)}"), problem.world[at],
                  (problem.tuning.seeds, scale), knobs),
            told={"knobs": knobs, "at": at},
        )
        for at in settings
        for arm in (problem.arms if arms is None else arms)
        for knobs in trial_knobs(problem, arm)
    ]  # fmt: skip


def trial_knobs(problem: Problem, arm: str) -> list[dict[str, Any]]:
    """Draws from the arm's space without repetition; the first is the first value of every knob."""
    assert problem.tuning is not None
    space = problem.tuning.own.get(arm, problem.tuning.space)
    points: list[dict[str, Any]] = [{}]
    for name, values in space.items():
        points = [point | {name: held} for point in points for held in values]
    order = [0, *(1 + rng(0, "trials", *sorted(space)).permutation(len(points) - 1))]
    return [points[i] for i in order[: problem.tuning.trials]]


Knobs = Callable[[str, str], Mapping[str, Any]]  # (arm, setting) -> tuned knobs


def untuned(arm: str, at: str) -> Mapping[str, Any]:
    del arm, at
    return {}


def tuned(problem: Problem, records: Sequence[Record]) -> Knobs:
    """The knobs of highest mean validation score over the tuning seeds, by the trial records that are there."""
    scores: dict[tuple[str, str], dict[str, list[float]]] = {}
    for record in records:
        if record.kind == "trial":
            text = json.dumps(record.told["knobs"], sort_keys=True)
            held = scores.setdefault((record.arm, record.told["at"]), {}).setdefault(text, [])
            held.append(record.metrics.get("validation", float("-inf")))

    def knobs(arm: str, at: str) -> Mapping[str, Any]:
        if problem.tuning is None:
            return {}
        held = scores.get((arm, at)) or scores.get((arm, ON))
        if not held:
            return trial_knobs(problem, arm)[0] if arm in problem.arms else {}
        return json.loads(max(held, key=lambda text: sum(held[text]) / len(held[text])))

    return knobs


def _unit(
    problem: Problem, name: tuple[Kind, str, str], world: Setting, run: tuple[Sequence[int], str], knobs: Setting
) -> Unit:
    kind, arm, setting = name
    seeds, scale = run
    recipe = problem.build(arm, world, dict(problem.scales.get(scale, {})) | dict(knobs))
    return Unit(
        kind=kind,
        arm=arm,
        setting=setting,
        recipe=with_steps(recipe, SMOKE_STEPS) if scale == "smoke" else recipe,
        seeds=tuple(seeds),
        scale=scale,
    )


def split(units: Sequence[Unit]) -> list[Unit]:
    """Units of one seed each, save where a recipe trains seeds together."""
    return [
        part
        for unit in units
        for part in (
            [unit]
            if isinstance(unit.recipe, Together) and unit.detector is None
            else [unit.only([seed]) for seed in unit.seeds]
        )
    ]


def _diagnosed(unit: Unit, seed: int) -> Record:
    assert unit.detector is not None
    began = process_time()
    said: Diagnosis = unit.detector(case_evidence(unit.recipe, seed))
    wanted = str(unit.told["cause"]).split("|")
    told = {**unit.told, "diagnosis": said.to_json()}
    return _record(unit, seed, {"right": float(said.cause in wanted)}, process_time() - began, told)


def _record(unit: Unit, seed: int, metrics: Mapping[str, float], seconds: float, told: Mapping[str, Any]) -> Record:
    return Record(
        kind=unit.kind,
        arm=unit.arm,
        setting=unit.setting,
        seed=seed,
        fingerprint=unit.fingerprint,
        metrics=dict(metrics),
        seconds=seconds,
        scale=unit.scale,
        commit=commit(),
        versions=dict(versions()),
        told=dict(told),
    )
