"""Detectors are asked where their evidence is there; one that fails doesn't silence the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from recsys.diagnose.diagnosis import ABSTAIN, Diagnosis, Evidence, Part, Row
from recsys.doctor.consult import Consultant, consult
from recsys.report.doctor import lines, render, to_json
from recsys.value import value
from tests.problems.toy import Labels, SpoiltLabels


@dataclass(frozen=True)
class Other(Part):
    x: float


@value
class Fails:
    needs: ClassVar[tuple[type[Part], ...]] = (Labels,)
    causes: ClassVar[tuple[str, ...]] = ()

    def __call__(self, evidence: Evidence) -> Diagnosis:
        raise ValueError("positions must be 1 or more, got 0 in row 7")


@value
class Needs(Fails):
    needs: ClassVar[tuple[type[Part], ...]] = (Other,)


@value
class Unsure(Fails):
    def __call__(self, evidence: Evidence) -> Diagnosis:
        return Diagnosis(ABSTAIN, {}, (Row("rows", 3.0, 100.0),), next_experiment="log a week of randomised lists")


def asked(**detectors: object) -> list:
    consultants = {id: Consultant(held, f"docs/problems/{id}.md", id) for id, held in detectors.items()}  # type: ignore[arg-type]
    return consult(consultants, Evidence.of(Labels(torch.tensor([6.0, 6.0, 6.0, 1.0]))))


def test_each_detector_ends_in_one_of_five_states() -> None:
    found = asked(a=Needs(), b=Fails(), c=SpoiltLabels(), d=Unsure(), e=SpoiltLabels(share=0.9))
    assert [held.state for held in found] == ["named", "abstains", "healthy", "failed", "no evidence"]
    assert found[-1].missing == ("Other",)
    assert "row 7" in (found[-2].error or "")


def test_the_page_the_json_and_the_lines_tell_the_same() -> None:
    found = asked(a=Needs(), b=Fails(), c=SpoiltLabels(), d=Unsure())
    html, text = render("outputs/x", found, {"Labels": "here"}), "\n".join(lines(found))
    for told in (
        "share of the commonest label",
        "log a week of randomised lists",
        "row 7",
        "needs Other",
        "docs/problems/c.md",
    ):
        assert told in html
        assert told in text
    json = to_json("outputs/x", found, {})
    assert json["findings"][0]["diagnosis"]["cause"] == "spoilt"


def test_who_abstains_names_the_next_experiment() -> None:
    with pytest.raises(ValueError, match="names the experiment"):
        Diagnosis(ABSTAIN, {}, ())
