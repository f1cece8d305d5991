"""Write docs/problems/<id>.md and .svg, the README's table and the list of evidence, from code and records.

`--check` writes nothing and fails when something is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from problems import Entry, catalogue
from recsys.claims.records import ROOT
from recsys.claims.verdicts import Findings, findings
from recsys.claims.work import tuned
from recsys.fingerprint import fingerprint_of
from recsys.report.evidence_fields import markdown
from recsys.report.problem_page import page, readme_rows
from recsys.report.problem_plots import picture
from recsys.report.style import styled

README, DOCTOR = ROOT / "README.md", ROOT / "docs" / "doctor.md"


def found(entry: Entry) -> Findings:
    return findings(entry.problem, list(entry.records()))


def text_of(entry: Entry, held: Findings) -> str:
    notes = entry.page_path.with_suffix(".notes.md")
    knobs = tuned(entry.problem, list(entry.records()))
    return page(entry.id, entry.story, held, knobs, notes.read_text() if notes.exists() else "")


def digest(held: Findings) -> str:
    """What the picture is drawn from; its title says so, since the bytes depend on the machine's fonts."""
    cells = [[[*key], {str(seed): dict(m) for seed, m in seeds.items()}] for part in (held.cells, held.sweep)
             for key, seeds in sorted(part.items())]  # fmt: skip
    return fingerprint_of(cells, held.matrix.to_json()["matrix"])


def draw(entry: Entry, held: Findings) -> None:
    with styled():
        picture(held).savefig(entry.page_path.with_suffix(".svg"), metadata={"Title": digest(held), "Date": None})


def between(path: Path, mark: str, text: str) -> str:
    """The file's text with what stands between two marks replaced."""
    begin, end = f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{text}\n{end}", path.read_text(), flags=re.DOTALL)


def stale(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text() != text


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what is stale")
    told = parser.parse_args(words)
    old, results = [], {}
    for id, entry in catalogue().items():
        if not entry.measured:
            continue
        held = found(entry)
        results[id] = (entry.page_path.relative_to(ROOT).as_posix(), held)
        text, plot = text_of(entry, held), entry.page_path.with_suffix(".svg")
        if stale(entry.page_path, text) or not plot.exists() or digest(held) not in plot.read_text():
            old.append(entry.page_path)
            if not told.check:
                entry.page_path.parent.mkdir(parents=True, exist_ok=True)
                entry.page_path.write_text(text)
                draw(entry, held)
    tables = {README: ("problems", readme_rows(results)), DOCTOR: ("evidence", markdown())}
    for path, (mark, table) in tables.items():
        text = between(path, mark, table)
        if stale(path, text):
            old.append(path)
            if not told.check:
                path.write_text(text)
    for path in old:
        print(f"{'stale' if told.check else 'written'}: {path.relative_to(ROOT)}")
    return int(told.check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
