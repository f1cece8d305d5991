"""The laws of a problem, each a function that raises AssertionError; the catalogue and planted cheats are held to them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from problems import HEADINGS
from recsys.claims.kinds import Keeps, Moves
from recsys.claims.problem import ON, Problem
from recsys.claims.work import SMOKE_STEPS, Knobs
from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence
from recsys.fingerprint import fingerprint_of
from recsys.recipe import Diagnosable, Recipe, with_steps
from recsys.report.problem_page import flattened
from recsys.worlds.world import Blindfolded

SEED = 1
FEW_KNOBS = 5
CAUSE = re.compile(r"[a-z]+(_[a-z]+)*")


def story_has_its_parts(story: Mapping[str, str]) -> None:
    for heading in HEADINGS:
        assert story.get(heading), f"the story has no {heading}"


def arms_differ_in_few_knobs(problem: Problem) -> None:
    """Every arm is a few knobs away from some other arm."""
    flat = {arm: flattened(problem.build(arm, problem.world[ON])) for arm in problem.arms}
    for arm, ours in flat.items():
        gaps = {
            other: {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
            for other, theirs in flat.items()
            if other != arm
        }
        gaps = {other: _outermost(names) for other, names in gaps.items()}
        nearest = min(gaps, key=lambda other: len(gaps[other]))
        assert len(gaps[nearest]) <= FEW_KNOBS, f"{arm} differs from {nearest}, its nearest, in {sorted(gaps[nearest])}"


def _outermost(names: set[str]) -> set[str]:
    """A component of another class is one knob, whatever fields the two classes have."""
    return {name for name in names if not any(name.startswith(f"{other}.") for other in names)}


def symptom_is_against_the_healthy(problem: Problem) -> None:
    remedies = {claim.arm for claim in problem.remedy}
    for claim in problem.symptom:
        if isinstance(claim, (Moves, Keeps)):
            assert claim.versus not in remedies, f"{claim}: a symptom is measured against a healthy arm, not a remedy"
    assert problem.choice or problem.symptom, "no symptom, and no choice question"


def guards_are_against_the_healthy(problem: Problem) -> None:
    broken = {claim.arm for claim in problem.symptom if isinstance(claim, (Moves, Keeps))}
    for claim in problem.guard:
        if isinstance(claim, (Moves, Keeps)):
            assert claim.versus not in broken, f"{claim}: a guard is measured against the healthy arm"


def cases_are_complete(problem: Problem) -> None:
    causes: dict[str, set[bool]] = {}
    for case in problem.cases:
        causes.setdefault(case.cause, set()).add(case.fresh)
        for cause in case.cause.split("|"):
            assert cause == HEALTHY or cause in problem.detector.causes, f"the detector can't name {cause!r}"
    assert HEALTHY in causes, "no healthy case: nothing could be a false alarm"
    for cause, fresh in causes.items():
        assert True in fresh, f"{cause}: no setting that was never looked at in development"
    assert len(set(causes) - {HEALTHY}) >= 2, "a detector that knows one cause only has no rival to reject"


def causes_have_one_style(problem: Problem) -> None:
    """Words joined by underscores; the causes put in are of those that the detector knows."""
    assert problem.detector is not None
    for cause in problem.detector.causes:
        assert CAUSE.fullmatch(cause), f"a cause is called {cause!r}: words in lower case, joined by underscores"
    put_in = {name for case in problem.cases for name in case.cause.split("|")}
    assert put_in <= {HEALTHY, *problem.detector.causes}


def every_cell_builds(problem: Problem, knobs: Knobs) -> Iterator[tuple[str, Recipe]]:
    for arm, at in problem.cells():
        yield f"{arm} [{at}]", problem.build(arm, problem.world[at], knobs(arm, at))
    for case in problem.cases:
        yield f"{case.arm} [{case.name}]", problem.build(case.arm, case.world, knobs(case.arm, ON))
    for point in problem.sweep.settings() if problem.sweep else []:
        for arm in problem.sweep.arms if problem.sweep else ():
            yield f"{arm} [{point}]", problem.build(arm, problem.world[ON] | point, knobs(arm, ON))


def truth_changes_nothing(recipe: Recipe) -> None:
    """Two steps in the world and in the same world blindfolded: the same weights, evidence and metrics' names."""
    short = with_steps(recipe, SMOKE_STEPS)
    blind: Any = replace(short, world=Blindfolded(world=short.world))  # type: ignore[type-var]
    logs, truth = short.world.sample(SEED)
    fitted, other = short.fit(logs, SEED), blind.fit(blind.world.sample(SEED).logs, SEED)
    assert tensors(fitted) == tensors(other), "what was learnt depends on the truth"
    metrics = short.evaluate(fitted, logs, truth)
    assert metrics, "no metrics"
    assert all(isinstance(held, (int, float)) for held in metrics.values()), metrics


def evidence_is_plain_and_blind(recipe: Recipe, problem: Problem) -> None:
    """Numbers and names only, the same without the truth; and the detector says something of it that it may say."""
    short = with_steps(recipe, SMOKE_STEPS)
    assert isinstance(short, Diagnosable), "no evidence()"
    blind: Any = replace(short, world=Blindfolded(world=short.world))  # type: ignore[type-var]
    logs = short.world.sample(SEED).logs
    evidence = short.evidence(short.fit(logs, SEED), logs, SEED)
    hidden = blind.evidence(blind.fit(logs, SEED), logs, SEED)
    plain_only(evidence)
    assert tensors(evidence) == tensors(hidden), "the evidence depends on the truth"
    said = problem.detector(evidence)
    assert said.cause in (*problem.detector.causes, HEALTHY, ABSTAIN)
    assert said.evidence, "a diagnosis without a measured row"


def plain_only(evidence: Evidence) -> None:
    """Nothing in the evidence could carry the knob: arrays, numbers, short names, and dataclasses of these."""
    for part in evidence.parts.values():
        for path, held in leaves(part, type(part).__name__):
            fine = held is None or isinstance(held, (int, float, str, np.ndarray, np.generic, torch.Tensor))
            assert fine, f"{path} is a {type(held).__name__}: evidence holds arrays, numbers and names"


def leaves(held: Any, path: str) -> Iterator[tuple[str, Any]]:
    if is_dataclass(held) and not isinstance(held, type):
        assert not hasattr(held, "sample"), f"{path} is a world"
        for field in fields(held):
            yield from leaves(getattr(held, field.name), f"{path}.{field.name}")
    elif isinstance(held, Mapping):
        for key, item in held.items():
            yield from leaves(item, f"{path}[{key!r}]")
    elif isinstance(held, (list, tuple)):
        for i, item in enumerate(held):
            yield from leaves(item, f"{path}[{i}]")
    else:
        yield path, held


def tensors(held: Any) -> str:
    """A fingerprint of every tensor and number that can be reached."""
    found: list[Any] = []

    def walk(item: Any, seen: frozenset[int]) -> None:
        if id(item) in seen:
            return
        seen = seen | {id(item)}
        if isinstance(item, nn.Module):
            walk(dict(item.state_dict()), seen)
        elif isinstance(item, torch.Tensor):
            found.append(fingerprint_of(str(item.dtype), item.detach().cpu().numpy().tobytes().hex()))
        elif isinstance(item, np.ndarray):
            found.append(fingerprint_of(str(item.dtype), item.tobytes().hex()))
        elif isinstance(item, (int, float, str, bool)):
            found.append(repr(item))
        elif isinstance(item, Evidence):
            walk(list(item.parts.values()), seen)
        elif isinstance(item, Mapping):
            walk([item[key] for key in sorted(item, key=str)], seen)
        elif isinstance(item, (list, tuple)):
            for each in item:
                walk(each, seen)
        elif is_dataclass(item) and not isinstance(item, type):
            walk([getattr(item, field.name) for field in fields(item) if field.name != "world"], seen)

    walk(held, frozenset())
    return fingerprint_of(found)


def arms_are_fair(problem: Problem, cells: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]) -> None:
    """Parameters within 10 % and the same steps, save for the arms that say why not."""
    for name, tolerance in (("parameters", 0.1), ("steps", 0.0)):
        held = {
            arm: next(iter(seeds.values()))[name]
            for (arm, at), seeds in cells.items()
            if at == ON and arm not in problem.unequal and name in next(iter(seeds.values()))
        }
        if held:
            low, high = min(held.values()), max(held.values())
            assert high <= low * (1 + tolerance) + 1e-9, f"{name} differ: {held}; name the arm in Problem.unequal"


def no_figures_in_prose(story: Mapping[str, str]) -> None:
    """Measured figures live in records: prose has no decimals of three digits or more."""
    for heading, text in story.items():
        found = re.findall(r"(?<![\w.])\d*\.\d{3,}", text)
        assert not found, f"{heading} holds figures {found}; let the page take them from the records"
