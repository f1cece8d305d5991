"""From a problem and its records to its verdicts, without running anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys.claims.judge import Verdict, judge
from recsys.claims.matrix import Matrix
from recsys.claims.problem import DOCTOR, ON, Problem, Setting
from recsys.claims.records import FIRST_VERDICT_SEED, Record, table
from recsys.claims.work import Unit, cases, cells, real, sweep, tuned


@dataclass(frozen=True, slots=True)
class Findings:
    """All that the records say of a problem, for a table, a page, or another program."""

    problem: Problem
    cells: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]
    verdicts: tuple[Verdict, ...]
    matrix: Matrix
    sweep: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]
    real: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]
    seconds: Mapping[str, float]  # arm -> CPU seconds a seed

    def to_json(self, id: str) -> dict[str, Any]:
        """The stable form: id, claims, diagnosis, seconds."""
        keys = ("role", "text", "measured", "low", "high", "needs", "verdict")
        claims = [{key: held[key] for key in keys} for held in (verdict.to_json() for verdict in self.verdicts)]
        return {"id": id, "claims": claims, "diagnosis": self.matrix.to_json(), "seconds": sum(self.seconds.values())}

    @property
    def holds(self) -> bool:
        return all(verdict.verdict == "holds" for verdict in self.verdicts)


def findings(
    problem: Problem,
    records: Sequence[Record],
    seeds: Sequence[int] | None = None,
    override: Setting | None = None,
    scale: str = "claim",
) -> Findings:
    """Judge from the records of a scale whose fingerprint is still the cell's own; seeds None: all verdict seeds.

    Raises ValueError where a claim's cell has no record.
    """
    knobs, more = tuned(problem, records), override or {}
    wanted = {record.seed for record in records if record.seed >= FIRST_VERDICT_SEED} if seeds is None else set(seeds)

    def of(units: list[Unit]) -> list[Record]:
        keys = {(unit.kind, unit.arm, unit.setting, unit.fingerprint) for unit in units}
        return [
            record
            for record in records
            if (record.kind, record.arm, record.setting, record.fingerprint) in keys
            and record.scale == scale
            and (record.seed in wanted)
        ]

    measured = of(cells(problem, (), scale, knobs, more))
    matrix = Matrix.of(of(cases(problem, (), scale, knobs, more)))
    held = table(measured)
    doctor = {(DOCTOR, ON): dict(matrix.by_seed)} if matrix.by_seed else {}
    seconds: dict[str, list[float]] = {}
    for record in measured:
        seconds.setdefault(record.arm, []).append(record.seconds)
    return Findings(
        problem=problem,
        cells=held,
        verdicts=tuple(judge(list(problem.claims()), {**held, **doctor})),
        matrix=matrix,
        sweep=table(of(sweep(problem, (), scale, knobs, more))),
        real=table(of(real(problem, (), scale, knobs, more))),
        seconds={arm: sum(spent) / len(spent) for arm, spent in seconds.items()},
    )
