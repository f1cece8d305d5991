"""Run problems of the catalogue: tuning trials, arms x worlds x seeds, the detector's cases; then the verdicts.

Exit status: 0 when every claim holds, 3 when one is refuted or open, which is a result; 1 when something failed to run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from jobs.problem_settings import ProblemSettings, problem_settings
from jobs.settings import entry_point
from jobs.verdict_table import told
from problems import Entry, load
from recsys.claims.problem import ON
from recsys.claims.records import Record, Records
from recsys.claims.schedule import makespan
from recsys.claims.verdicts import Findings, findings
from recsys.claims.work import Unit, cases, cells, real, split, sweep, trials, tuned, work
from recsys.cluster.tasks import run_tasks
from recsys.tracking.run import start_run

CORES = (2, 16, 128)


@dataclass(slots=True)
class Ledger:
    """A problem's records: those of the repository, and those of this run's own folder."""

    entry: Entry
    settings: ProblemSettings
    kept: Records
    scratch: Records

    @classmethod
    def open(cls, entry: Entry, settings: ProblemSettings) -> Ledger:
        return cls(entry, settings, entry.records(), Records(Path(settings.run_dir) / f"{entry.id}.jsonl"))

    def records(self) -> list[Record]:
        """What a verdict may be made of: with record=false only tuning trials are taken from the repository."""
        kept = [record for record in self.kept if self.settings.record or record.kind == "trial"]
        return [*kept, *self.scratch]

    def missing(self, units: Sequence[Unit]) -> list[Unit]:
        """Units, one seed each unless seeds train together, of which nothing is recorded yet."""
        have = set() if self.settings.fresh else {record.key for record in self.records()}
        rest = [unit.only([seed for seed in unit.seeds if unit.key(seed) not in have]) for unit in units]
        return split([unit for unit in rest if unit.seeds])

    def append(self, records: Sequence[Record]) -> None:
        trial = all(record.kind == "trial" and record.scale == "claim" for record in records)
        to_repository = self.settings.keeps or (trial and self.settings.record and not self.settings.world)
        (self.kept if to_repository else self.scratch).append(records)


Piece = tuple[str, Unit]  # problem id, unit


def _work(piece: Piece) -> list[Record]:
    return work(piece[1])


def run_units(ledgers: dict[str, Ledger], pieces: Sequence[Piece], settings: ProblemSettings, what: str) -> list[str]:
    """Do all pieces, recording each as it is done; the failures, in words."""
    failures = []
    bar = tqdm(total=len(pieces), desc=what, unit="unit", mininterval=1, disable=not pieces)
    for (id, unit), found in run_tasks(_work, pieces, settings.cluster):
        name = f"{id} {unit.kind} {unit.arm} [{unit.setting}] seeds {','.join(map(str, unit.seeds))}"
        if isinstance(found, Exception):
            failures.append(f"{name}: {type(found).__name__}: {found}")
        else:
            ledgers[id].append(found)
        bar.set_postfix_str(name[:60], refresh=False)
        bar.update()
    bar.close()
    return failures


def planned(ledger: Ledger) -> list[Unit]:
    """Everything that the verdicts and the page of a problem need."""
    settings, problem = ledger.settings, ledger.entry.problem
    knobs = tuned(problem, ledger.records())
    told = (settings.seeds, settings.scale, knobs, settings.world)
    if settings.scale == "smoke":  # every arm takes two steps, once
        return [unit for unit in cells(problem, *told) if unit.setting == ON] + cases(problem, *told)[:1]
    makers = [cells, cases, real, *([sweep] if settings.sweep else [])]
    return [unit for make in makers for unit in make(problem, *told)]


def longest_first(pieces: list[Piece], ledgers: dict[str, Ledger]) -> list[Piece]:
    """By what the same arm took before, so that no core is left with a long one at the end."""
    spent: dict[tuple[str, str], float] = {}
    for id, ledger in ledgers.items():
        for record in ledger.records():
            spent[id, record.arm] = max(record.seconds, spent.get((id, record.arm), 0.0))
    return sorted(pieces, key=lambda piece: -spent.get((piece[0], piece[1].arm), 1e9) * len(piece[1].seeds))


def judged(ledger: Ledger) -> Findings:
    settings = ledger.settings
    return findings(ledger.entry.problem, ledger.records(), settings.seeds, settings.world, settings.scale)


def log(id: str, found: Findings, settings: ProblemSettings) -> None:
    """To the metrics file and W&B, with the problem as the group."""
    tracking = replace(settings.tracking, group=settings.tracking.group or id)
    with start_run(tracking, job="problem", run_id=id, config=settings.plain, dir=settings.run_dir) as run:
        run.summary({"macro_recall": found.matrix.macro_recall, "false_alarm": found.matrix.false_alarm,
                     "claims": len(found.verdicts), "holds": sum(v.verdict == "holds" for v in found.verdicts)})  # fmt: skip
        columns = ["role", "text", "measured", "low", "high", "needs", "verdict"]
        run.table("verdicts", columns, [[held.to_json()[key] for key in columns] for held in found.verdicts])


def report_time(results: dict[str, Findings], units: dict[str, list[Unit]]) -> None:
    """How long all of it takes on more cores, from what each arm took."""
    seconds = [results[id].seconds.get(unit.arm, 0.0) for id in results for unit in units[id] for _ in unit.seeds]
    if seconds:
        walls = ", ".join(f"{makespan(seconds, cores) / 60:.1f} min on {cores} cores" for cores in CORES)
        print(f"\n{len(seconds)} units, {sum(seconds) / 60:.1f} CPU minutes: {walls} (simulated, longest first)")


def run(settings: ProblemSettings) -> int:
    ledgers = {id: Ledger.open(load(id), settings) for id in settings.ids}
    scale = settings.scale if settings.scale == "smoke" else "claim"
    trial_units = [
        (id, unit) for id, held in ledgers.items() for unit in held.missing(trials(held.entry.problem, scale))
    ]
    failures = run_units(ledgers, trial_units, settings, "tuning")
    units = {id: planned(held) for id, held in ledgers.items()}
    pieces = [(id, unit) for id, held in ledgers.items() for unit in held.missing(units[id])]
    failures += run_units(ledgers, longest_first(pieces, ledgers), settings, "arms, worlds, seeds")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    if failures:
        print("What was measured is recorded; run the same command again for the rest.", file=sys.stderr)
        return 1
    if settings.scale == "smoke":
        print(f"{', '.join(ledgers)}: {len(pieces)} units took two steps")
        return 0
    results = {id: judged(held) for id, held in ledgers.items()}
    for id, found in results.items():
        print(told(id, found))
        log(id, found, settings)
    report_time(results, units)
    if settings.out:
        held = [found.to_json(id) for id, found in results.items()]
        Path(settings.out).write_text(json.dumps(held[0] if len(held) == 1 else {"problems": held}, indent=1) + "\n")
    return 0 if all(found.holds for found in results.values()) else 3


def main(settings: ProblemSettings) -> None:
    sys.exit(run(settings))


def arguments(words: Sequence[str]) -> list[str]:
    """Hydra's form: world.x is an open group, --sweep a switch, and scale, a group of other jobs, is called tier."""
    return [_hydra(word) for word in words]


def _hydra(word: str) -> str:
    if word == "--sweep":
        return "sweep=true"
    if word.startswith("scale="):
        return f"tier={word.removeprefix('scale=')}"
    return f"+{word}" if word.startswith("world.") else word


if __name__ == "__main__":
    sys.argv[1:] = arguments(sys.argv[1:])
    entry_point("problem", problem_settings, main)()
