"""The detector's confusion matrix, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys.claims.records import Record
from recsys.diagnose.diagnosis import HEALTHY


@dataclass(frozen=True, slots=True)
class Matrix:
    """counts[true cause][what was said]; a true cause of "a|b" stands for both at once."""

    counts: Mapping[str, Mapping[str, int]]
    by_seed: Mapping[int, Mapping[str, float]]  # macro_recall and false_alarm of each seed

    @classmethod
    def of(cls, records: Sequence[Record]) -> Matrix:
        """Of seeds with every case: what a run that was cut short did of a seed is another, easier or harder, test."""
        done: dict[int, set[tuple[str, str]]] = {}
        for record in records:
            done.setdefault(record.seed, set()).add((record.arm, record.setting))
        every = set().union(*done.values())
        records = [record for record in records if done[record.seed] == every]
        counts: dict[str, dict[str, int]] = {}
        seeds: dict[int, dict[str, list[float]]] = {}
        for record in records:
            true, said = record.told["cause"], record.told["diagnosis"]["cause"]
            row = counts.setdefault(true, {})
            row[said] = row.get(said, 0) + 1
            seeds.setdefault(record.seed, {}).setdefault(true, []).append(record.metrics["right"])
        return cls(counts, {seed: _scores(held) for seed, held in seeds.items()})

    def said(self) -> list[str]:
        """Everything that was said: in the order of the causes that were put in, then by name."""
        order = list(self.counts)
        names = {name for row in self.counts.values() for name in row}
        return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))

    @property
    def macro_recall(self) -> float:
        """Mean over the causes of the share of their cases that were named; healthy cases aside; abstaining misses."""
        return _mean([held["macro_recall"] for held in self.by_seed.values()])

    @property
    def false_alarm(self) -> float:
        """Share of the healthy cases on which a cause was named."""
        return _mean([held["false_alarm"] for held in self.by_seed.values()])

    def to_json(self) -> dict[str, Any]:
        return {"macro_recall": self.macro_recall, "false_alarm": self.false_alarm,
                "matrix": {true: dict(row) for true, row in self.counts.items()}}  # fmt: skip


def _scores(held: Mapping[str, Sequence[float]]) -> dict[str, float]:
    faults = [_mean(right) for true, right in held.items() if true != HEALTHY]
    healthy = held.get(HEALTHY, [])
    return {"macro_recall": _mean(faults), "false_alarm": 1 - _mean(healthy) if healthy else float("nan")}


def _mean(held: Sequence[float]) -> float:
    return sum(held) / len(held) if held else float("nan")
