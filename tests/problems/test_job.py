"""jobs.problem in this process, on the toy: exit statuses, where records go, resuming, the file of verdicts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import jobs.problem as job
from jobs.problem_settings import ProblemSettings
from recsys.claims.kinds import Moves
from recsys.claims.problem import Problem
from recsys.claims.records import Records
from recsys.cluster.start import ClusterSpec
from recsys.tracking.wandb import TrackingSpec
from tests.problems.toy import problem


class Toy:
    """An entry of the catalogue whose records lie in a folder of the test."""

    id = "p99"

    def __init__(self, folder: Path, held: Problem) -> None:
        self.problem, self.path = held, folder / "repository" / "p99.jsonl"

    def records(self) -> Records:
        return Records(self.path)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    held = Toy(tmp_path, problem())
    monkeypatch.setattr(job, "load", lambda id: held)
    return held


def settings(folder: Path, **given: Any) -> ProblemSettings:
    told = {
        "ids": ("p99",), "seeds": (100, 101, 102, 103, 104), "scale": "claim", "world": {}, "sweep": False, "fresh": False,
        "record": True, "out": None, "run_dir": str(folder / "run"), "cluster": ClusterSpec(workers=0),
        "tracking": TrackingSpec(enabled=False), "plain": {},
    }  # fmt: skip
    return ProblemSettings(**{**told, **given})


def test_status_0_when_every_claim_holds_and_the_file_has_the_stable_form(toy: Toy, tmp_path: Path) -> None:
    out = tmp_path / "V.json"
    assert job.run(settings(tmp_path, out=str(out))) == 0
    told = json.loads(out.read_text())
    assert set(told) == {"id", "claims", "diagnosis", "seconds"}
    assert set(told["claims"][0]) == {"role", "text", "measured", "low", "high", "needs", "verdict"}
    assert set(told["diagnosis"]) == {"macro_recall", "false_alarm", "matrix"}
    assert told["seconds"] > 0


def test_verdicts_are_tracked_in_the_group_of_the_problem(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[str | None] = []
    start = job.start_run

    def started(tracking: TrackingSpec, **given: Any) -> Any:
        groups.append(tracking.group)
        return start(tracking, **given)

    monkeypatch.setattr(job, "start_run", started)
    job.run(settings(tmp_path))
    assert groups == ["p99"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (table,) = [line for line in lines if line["kind"] == "table"]
    assert len(table["rows"]) == len(list(toy.problem.claims()))
    assert {row[table["columns"].index("verdict")] for row in table["rows"]} == {"holds"}
    job.run(settings(tmp_path, tracking=TrackingSpec(enabled=False, group="nightly")))
    assert groups == ["p99", "nightly"]


def test_status_3_when_a_claim_is_refuted(toy: Toy, tmp_path: Path) -> None:
    toy.problem = replace(toy.problem, symptom=(Moves(metric="error", arm="baseline", versus="healthy", by=50.0),))
    assert job.run(settings(tmp_path)) == 3


def test_a_run_goes_on_where_it_stopped_and_repeats_when_told(toy: Toy, tmp_path: Path) -> None:
    assert job.run(settings(tmp_path)) == 0
    lines = toy.path.read_text().splitlines()
    toy.path.write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    assert job.run(settings(tmp_path)) == 0
    assert len(toy.path.read_text().splitlines()) == len(lines)
    assert job.run(settings(tmp_path, fresh=True)) == 0
    assert len(toy.path.read_text().splitlines()) > len(lines)


@pytest.mark.parametrize(
    "given", [{"record": False}, {"seeds": (3, 4, 5)}, {"world": {"noise": 0.2}}], ids=["record=false", "dev", "world"]
)
def test_only_verdict_seeds_of_its_own_worlds_are_kept(toy: Toy, tmp_path: Path, given: dict[str, Any]) -> None:
    job.run(settings(tmp_path, **given))
    assert all(record.kind == "trial" for record in toy.records())
    assert Records(tmp_path / "run" / "p99.jsonl").held


def test_record_false_measures_everything_itself(toy: Toy, tmp_path: Path) -> None:
    job.run(settings(tmp_path))
    before = toy.path.read_text()
    job.run(settings(tmp_path, record=False, out=str(tmp_path / "V.json")))
    assert toy.path.read_text() == before
    cells = [record for record in Records(tmp_path / "run" / "p99.jsonl") if record.kind == "cell"]
    assert len(cells) == 5 * len(toy.problem.cells())


def test_a_unit_that_fails_is_named_and_the_rest_is_recorded(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.problem = replace(toy.problem, world={**toy.problem.world, "on": {"spoilt": 0.3, "num_rows": 0}})
    assert job.run(settings(tmp_path)) == 1
    assert "failed: p99" in capsys.readouterr().err
    assert len(list(toy.records())) > 0


def test_two_steps_an_arm_make_no_verdict(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert job.run(settings(tmp_path, scale="smoke", seeds=(100,))) == 0
    assert "took two steps" in capsys.readouterr().out


def test_switches_and_the_sweep_need_no_plus_sign() -> None:
    told = job.arguments(["id=p17", "world.noise=3", "--sweep", "scale=smoke"])
    assert told == ["id=p17", "+world.noise=3", "sweep=true", "tier=smoke"]
