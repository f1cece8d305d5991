"""Every detector of the catalogue on the faults, rivals and healthy twins of every problem, where its evidence exists.

A cause that a detector names on another problem's evidence is a false alarm, unless that cause was really put in, or says
no more than of what kind a label is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from tqdm import tqdm

from jobs.verdict_table import aligned
from problems import catalogue
from recsys.claims.records import FIRST_VERDICT_SEED, ROOT, parse_seeds
from recsys.claims.work import Unit, case_evidence, cases, split, tuned
from recsys.cluster.start import ClusterSpec
from recsys.cluster.tasks import run_tasks
from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Detector, runnable
from recsys.diagnose.label_geometry import KINDS
from recsys.report.joint_matrix import draw
from recsys.report.style import styled

OUT = ROOT / "docs" / "problems" / "matrix.json"


@dataclass(frozen=True, slots=True)
class Consultation:
    """One detector on one piece of evidence."""

    problem: str
    cause: str  # put in
    setting: str
    seed: int
    detector: str  # the problem id of the detector
    said: str

    @property
    def false_alarm(self) -> bool:
        """Named a cause that wasn't put in, on evidence that isn't its own problem's."""
        fine = {HEALTHY, ABSTAIN, *KINDS, *self.cause.split("|")}
        return self.detector != self.problem and self.said not in fine


Piece = tuple[str, Unit, dict[str, Detector]]


def asked(piece: Piece) -> list[Consultation]:
    id, unit, detectors = piece
    evidence = case_evidence(unit.recipe, unit.seeds[0])
    return [
        Consultation(id, str(unit.told["cause"]), unit.setting, unit.seeds[0], name, detector(evidence).cause)
        for name, detector in detectors.items()
        if runnable(detector, evidence)
    ]


def pieces(ids: Sequence[str], seeds: Sequence[int], healthy: bool) -> list[Piece]:
    entries = catalogue()
    detectors = {id: entry.problem.detector for id, entry in entries.items()}
    return [
        (id, unit, detectors)
        for id in ids
        for unit in split(
            cases(entries[id].problem, seeds, "claim", tuned(entries[id].problem, list(entries[id].records())), {})
        )
        if not healthy or unit.told["cause"] == HEALTHY
    ]


def told(found: Sequence[Consultation]) -> str:
    names = sorted({held.detector for held in found})
    rows = []
    for problem, cause in dict.fromkeys((held.problem, held.cause) for held in found):
        said = [
            _said([h.said for h in found if (h.problem, h.cause, h.detector) == (problem, cause, n)]) for n in names
        ]
        rows.append([problem, cause, *said])
    return aligned(["evidence of", "put in", *names], rows)


def _said(held: Sequence[str]) -> str:
    counts = {name: held.count(name) for name in dict.fromkeys(held)}
    return ", ".join(name if count == len(held) else f"{name} {count}" for name, count in counts.items())


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="100", help="of the cases, such as 100-102")
    parser.add_argument("--workers", type=int, default=2, help="0: in this process; else Ray tasks")
    parser.add_argument(
        "--healthy", action="store_true", help="only cases in which nothing is wrong; nothing is written"
    )
    parser.add_argument("--problems", help="whose evidence is made, such as p02,p09; what is written of others stays")
    given = parser.parse_args(words)
    seeds, ids = parse_seeds(given.seeds), given.problems.split(",") if given.problems else list(catalogue())
    work, found, failed = pieces(ids, seeds, given.healthy), [], 0
    for piece, result in tqdm(run_tasks(asked, work, ClusterSpec(workers=given.workers)), total=len(work), unit="case"):
        if isinstance(result, Exception):
            failed += 1
            print(f"failed: {piece[0]} {piece[1].setting}: {type(result).__name__}: {result}", file=sys.stderr)
        else:
            found += result
    report(sorted(found, key=_place))
    if not given.healthy and min(seeds) >= FIRST_VERDICT_SEED:
        write(found + [held for held in written() if held.problem not in ids])
    return 1 if failed else 0


def report(found: Sequence[Consultation]) -> None:
    others = [held for held in found if held.detector != held.problem]
    alarms = [held for held in others if held.false_alarm]
    print(told(found))
    for held in alarms:
        print(f"{held.detector} on {held.problem} {held.setting}, seed {held.seed}: {held.said}")
    kinds = sum(held.said in KINDS and held.said not in held.cause.split("|") for held in others)
    print(
        f"\n{len(others)} consultations on another problem's evidence, {len(alarms)} false alarms, {kinds} kinds of labels"
    )


def written() -> list[Consultation]:
    return [Consultation(**held) for held in json.loads(OUT.read_text())] if OUT.exists() else []


def write(found: Sequence[Consultation]) -> None:
    rows = sorted(found, key=_place)
    OUT.write_text(json.dumps([asdict(held) for held in rows], indent=0) + "\n")
    with styled():
        draw(rows).savefig(OUT.with_suffix(".svg"), metadata={"Date": None})
    print(f"written: {OUT.relative_to(ROOT)} and .svg")


def _place(held: Consultation) -> tuple[str, str, str, int, str]:
    return held.problem, held.cause, held.setting, held.seed, held.detector


if __name__ == "__main__":
    sys.exit(main())
