"""The law of the catalogue: one test for each law, for every problem."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pytest

from jobs import pages
from problems import catalogue, load
from recsys.claims.records import FIRST_VERDICT_SEED, ROOT, Record
from recsys.claims.verdicts import Findings, findings
from recsys.claims.work import Knobs, cells, tuned
from recsys.recipe import run
from tests.problems import laws

IDS = list(catalogue())
QUESTIONS = dict(re.findall(r"^- \*\*(\w+)\*\* (.+)$", (ROOT / "problems" / "README.md").read_text(), re.MULTILINE))
FEWEST_SEEDS = 5
MEASURED = [id for id in IDS if load(id).measured]
each_problem = pytest.mark.parametrize("id", IDS)
each_measured = pytest.mark.parametrize("id", MEASURED)


@lru_cache
def records(id: str) -> list[Record]:
    return list(load(id).records())


@lru_cache
def found(id: str) -> Findings:
    return findings(load(id).problem, records(id))


def knobs(id: str) -> Knobs:
    return tuned(load(id).problem, records(id))


def arms() -> Iterator[tuple[str, str]]:
    return ((id, arm) for id in IDS for arm in load(id).problem.arms)


def test_the_62_questions_are_there_without_a_gap() -> None:
    assert len(QUESTIONS) == 62
    assert sorted(id for id in QUESTIONS if id[0] == "p") == [f"p{i:02d}" for i in range(1, 48)]
    assert set(IDS) <= set(QUESTIONS)


@each_problem
def test_the_story_has_its_parts_and_no_figures(id: str) -> None:
    story = load(id).story
    laws.story_has_its_parts(story)
    laws.no_figures_in_prose(story)
    assert " ".join(story["Question"].split()) == QUESTIONS[id]


@each_problem
def test_arms_differ_in_few_knobs(id: str) -> None:
    laws.arms_differ_in_few_knobs(load(id).problem)


@each_problem
def test_symptom_and_guards_are_measured_against_the_healthy(id: str) -> None:
    laws.symptom_is_against_the_healthy(load(id).problem)
    laws.guards_are_against_the_healthy(load(id).problem)


@each_problem
def test_cases_are_complete(id: str) -> None:
    laws.cases_are_complete(load(id).problem)


@each_problem
def test_causes_have_one_style_in_the_code_and_in_the_records(id: str) -> None:
    laws.causes_have_one_style(load(id).problem)
    cases = [record for record in records(id) if record.kind == "case"]
    named = {name for case in cases for name in (*case.told["cause"].split("|"), case.told["diagnosis"]["cause"])}
    assert all(laws.CAUSE.fullmatch(name) for name in named)


@each_problem
def test_every_cell_can_be_built(id: str) -> None:
    assert len(list(laws.every_cell_builds(load(id).problem, knobs(id)))) > 3


@pytest.mark.parametrize(("id", "arm"), list(arms()))
def test_every_arm_takes_two_steps_and_never_sees_the_truth(id: str, arm: str) -> None:
    problem = load(id).problem
    laws.truth_changes_nothing(problem.build(arm, problem.world["on"], knobs(id)(arm, "on")))


@each_problem
def test_evidence_is_plain_and_never_sees_the_truth(id: str) -> None:
    problem = load(id).problem
    case = problem.cases[0]
    laws.evidence_is_plain_and_blind(problem.build(case.arm, case.world, knobs(id)(case.arm, "on")), problem)


@each_measured
def test_verdicts_follow_from_the_records(id: str) -> None:
    held = found(id)
    assert min(verdict.seeds for verdict in held.verdicts) >= FEWEST_SEEDS
    assert min(seed for seeds in held.cells.values() for seed in seeds) >= FIRST_VERDICT_SEED
    assert all(np.isfinite(verdict.measured) for verdict in held.verdicts), held.verdicts
    assert set(held.cells) >= set(load(id).problem.cells()), "a cell has no records of its present knobs"


@each_measured
def test_arms_are_fair(id: str) -> None:
    problem = load(id).problem
    laws.arms_are_fair(problem, found(id).cells)
    if problem.tuning:
        trials = [(r.arm, r.told["at"]) for r in records(id) if r.kind == "trial" and r.arm not in problem.unequal]
        counts = {key: trials.count(key) for key in set(trials)}
        assert {arm for arm, _ in counts} >= set(problem.arms) - set(problem.unequal)
        assert len(set(counts.values())) == 1, f"unequal numbers of trials: {counts}"


@each_measured
def test_a_recorded_seed_comes_out_the_same_again(id: str) -> None:
    held, problem = found(id), load(id).problem
    cheapest = min(
        (arm for arm, at in held.cells if at == "on" and arm != problem.ceiling), key=held.seconds.__getitem__
    )
    recorded = held.cells[cheapest, "on"]
    seed = min(recorded)
    (unit,) = [u for u in cells(problem, [seed], "claim", knobs(id), {}) if (u.arm, u.setting) == (cheapest, "on")]
    again = run(unit.recipe, unit.seeds)[0].metrics
    for name, value in recorded[seed].items():
        if not name.startswith("time"):
            assert again[name] == pytest.approx(value, rel=0.05, abs=0.02, nan_ok=True), name


@pytest.mark.skipif(not IDS, reason="no problems")
def test_pages_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert pages.main(["--check"]) == 0, f"run `make pages`: {capsys.readouterr().out}"
