"""Work units, records and findings, on the toy problem."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recsys.claims.records import Records
from recsys.claims.verdicts import findings
from recsys.claims.work import cases, cells, split, sweep, trial_knobs, trials, tuned, work
from recsys.recipe import fingerprint, run, with_steps
from recsys.worlds.world import Blindfolded
from tests.problems.toy import Line, LineWorld, problem, recipe

SEEDS = (100, 101, 102, 103, 104)


def full(path: Path) -> Records:
    held, toy = Records(path), problem()
    for unit in trials(toy, "claim"):
        held.append(work(unit))
    knobs = tuned(toy, list(held))
    for make in (cells, cases, sweep):
        for unit in split(make(toy, SEEDS, "claim", knobs, {})):
            held.append(work(unit))
    return held


def test_a_problem_runs_from_units_to_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "toy.jsonl"
    held = full(path)
    found = findings(problem(), list(held))
    assert [verdict.verdict for verdict in found.verdicts] == ["holds"] * len(found.verdicts)
    assert found.matrix.macro_recall == 1
    assert found.matrix.false_alarm == 0
    assert set(found.sweep) == {(arm, f"spoilt={x}") for arm in ("baseline", "drop") for x in (0.0, 0.15, 0.3)}
    again = findings(problem(), list(Records(path)))
    assert [v.verdict for v in again.verdicts] == ["holds"] * len(found.verdicts)
    assert again.to_json("toy")["claims"][0]["measured"] == pytest.approx(found.verdicts[0].measured, rel=1e-4)


def test_findings_of_some_seeds_only_and_of_no_seed() -> None:
    with pytest.raises(ValueError, match="run the problem first"):
        findings(problem(), [])


def test_seeds_together_are_seeds_alone() -> None:
    alone, together = recipe(spoilt=0.3), recipe(spoilt=0.3, together=True)
    for a, b in zip(run(alone, SEEDS), run(together, SEEDS), strict=True):
        assert a.metrics == pytest.approx(b.metrics, abs=1e-5)


def test_with_steps_reaches_every_fit() -> None:
    assert with_steps(recipe(), 2).train.steps == 2
    assert run(with_steps(recipe(), 2), [0])[0].metrics["steps"] == 2


def test_fingerprints_are_of_knobs() -> None:
    assert fingerprint(recipe(spoilt=0.3)) == fingerprint(recipe(spoilt=0.3))
    assert fingerprint(recipe(spoilt=0.3)) != fingerprint(recipe(spoilt=0.31))


def test_blindfolded_training_is_the_same_to_the_bit() -> None:
    world = LineWorld(spoilt=0.3)
    weights = []
    for held in (world, Blindfolded(world=world)):
        line = Line(world=held)
        fitted = line.fit(line.world.sample(3).logs, 3)
        weights.append(torch.cat([p.flatten() for p in fitted.model.parameters()]))
    assert torch.equal(*weights)
    assert Blindfolded(world=world).sample(3).truth.mean.isnan().all()


def test_trials_are_as_many_for_every_arm_and_start_with_the_first_values() -> None:
    toy = problem()
    units = trials(toy, "claim")
    assert {arm: sum(unit.arm == arm for unit in units) for arm in toy.arms} == dict.fromkeys(toy.arms, 4)
    assert trial_knobs(toy, "baseline")[0] == {"learning_rate": 0.05}


def test_records_survive_a_broken_line_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("{broken\n")
    with pytest.raises(ValueError, match=r"r\.jsonl:1 isn't a record"):
        Records(path)


def test_a_switch_that_no_recipe_knows_is_named() -> None:
    with pytest.raises(ValueError, match="'sploit': 1"):
        problem().build("baseline", {"sploit": 1})


def test_a_name_is_an_arm_s_or_one_on_real_data() -> None:
    with pytest.raises(ValueError, match=r"\['drop'\] are arms and arms on real data"):
        replace(problem(), real={"drop": recipe})
