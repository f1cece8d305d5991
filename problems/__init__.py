"""The catalogue: a module for each problem, found by its file's name, `p17_triplet_collapse.py`."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from recsys.claims.problem import Problem
from recsys.claims.records import ROOT, Records
from recsys.value import require

NAME = re.compile(r"(p\d\d|s1[0-3](?:q\d+)?)_\w+\.py")
HEADINGS = ("Question", "Answer", "Symptom", "Diagnosis", "Remedy", "Guard", "Control", "Cost", "Apply")


@dataclass(frozen=True)
class Entry:
    """A problem as the catalogue holds it: its id, its module, its records, its page."""

    id: str
    module: str

    @cached_property
    def problem(self) -> Problem:
        held = importlib.import_module(f"problems.{self.module}").PROBLEM
        require(isinstance(held, Problem), f"problems/{self.module}.py: PROBLEM must be a Problem, got {held!r}")
        return held

    @cached_property
    def story(self) -> dict[str, str]:
        """The module's docstring by heading."""
        text = importlib.import_module(f"problems.{self.module}").__doc__ or ""
        parts = re.split(r"^(\w[\w' -]*)\n-+\n", text, flags=re.MULTILINE)
        return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}

    @property
    def records_path(self) -> Path:
        return ROOT / "docs" / "problems" / f"{self.id}.jsonl"

    @property
    def page_path(self) -> Path:
        return ROOT / "docs" / "problems" / f"{self.id}.md"

    @property
    def measured(self) -> bool:
        """Whether there are records to make verdicts and a page of; a module may be there before them."""
        return any(record.kind == "cell" for record in self.records())

    def records(self) -> Records:
        return Records(self.records_path)


def catalogue() -> dict[str, Entry]:
    """Every problem by id, in the order of their ids."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if named := NAME.fullmatch(path.name):
            found[named[1]] = Entry(named[1], path.stem)
    return dict(sorted(found.items()))


def load(id: str) -> Entry:
    """The problem of this id; raises ValueError naming those that there are."""
    held = catalogue()
    require(id in held, f"no problem {id!r}; there are {', '.join(held)}")
    return held[id]
