"""Write docs/problems/<id>.md and .svg and the README's table, from modules and records; `--check` fails when stale."""

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
from recsys.report.problem_page import page, readme_rows
from recsys.report.problem_plots import picture
from recsys.report.style import styled

README = ROOT / "README.md"
BEGIN, END = "<!-- problems:begin -->", "<!-- problems:end -->"


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


def readme(results: dict[str, tuple[str, Findings]]) -> str:
    text = README.read_text()
    return re.sub(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{readme_rows(results)}\n{END}", text, flags=re.DOTALL)


def stale(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text() != text


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name what is stale")
    told = parser.parse_args(words)
    old, results = [], {}
    for id, entry in catalogue().items():
        held = found(entry)
        results[id] = (entry.page_path.relative_to(ROOT).as_posix(), held)
        text, plot = text_of(entry, held), entry.page_path.with_suffix(".svg")
        if stale(entry.page_path, text) or not plot.exists() or digest(held) not in plot.read_text():
            old.append(entry.page_path)
            if not told.check:
                entry.page_path.parent.mkdir(parents=True, exist_ok=True)
                entry.page_path.write_text(text)
                draw(entry, held)
    table = readme(results)
    if stale(README, table):
        old.append(README)
        if not told.check:
            README.write_text(table)
    for path in old:
        print(f"{'stale' if told.check else 'written'}: {path.relative_to(ROOT)}")
    return int(told.check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
