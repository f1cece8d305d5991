"""A page is made of the story and the records, and says when it is stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.claims.verdicts import Findings, findings
from recsys.claims.work import cases, cells, split, sweep, untuned, work
from recsys.report.problem_page import page, readme_rows
from recsys.report.problem_plots import picture, primary, winner
from recsys.report.style import styled
from tests.problems.toy import problem

STORY = dict.fromkeys(
    ("Question", "Answer", "Symptom", "Diagnosis", "Remedy", "Guard", "Control", "Cost", "Apply"), "Told."
)


@pytest.fixture(scope="module")
def found() -> Findings:
    toy = problem()
    units = [unit for make in (cells, cases, sweep) for unit in split(make(toy, (100, 101, 102), "claim", untuned, {}))]
    return findings(toy, [record for unit in units for record in work(unit)])


def test_the_page_holds_every_claim_arm_and_case(found: Findings) -> None:
    text = page("p99", STORY, found, untuned, "It was tried.")
    for verdict in found.verdicts:
        assert verdict.text in text
    for arm in found.problem.arms:
        assert f"| {arm} |" in text
    assert "It was tried." in text
    assert "id=p99" in text
    assert text == page("p99", STORY, found, untuned, "It was tried.")


def test_knobs_on_which_no_arm_differs_are_left_out(found: Findings) -> None:
    text = page("p99", STORY, found, untuned, "")
    assert "world.spoilt" in text
    assert "num_rows" not in text


def test_the_picture_is_drawn(found: Findings, tmp_path: Path) -> None:
    with styled():
        picture(found).savefig(tmp_path / "p.svg", metadata={"Title": "abc", "Date": None})
    text = (tmp_path / "p.svg").read_text()
    assert "abc" in text
    assert "dose and response: error" in text
    assert primary(found) == "error"


def test_a_lead_that_could_be_chance_is_a_tie() -> None:
    seeds = {"a": [0.5, 0.7, 0.4], "b": [0.5, 0.6, 0.49], "c": [0.1, 0.1, 0.1]}
    cells = {arm: {i: {"m": v} for i, v in enumerate(held)} for arm, held in seeds.items()}
    assert winner(cells, "m") == ("a", True)
    assert winner({"a": cells["a"], "c": cells["c"]}, "m") == ("a", False)


def test_the_readme_has_a_row_a_problem(found: Findings) -> None:
    assert "[p99](docs/problems/p99.md)" in readme_rows({"p99": ("docs/problems/p99.md", found)})
