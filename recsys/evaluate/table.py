"""The results of several methods side by side, with the values of every user behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recsys.evaluate.compare import Bootstrap, Interval, intervals, paired_difference
from recsys.value import require


@dataclass(frozen=True, slots=True)
class Table:
    """Means with intervals; per-user values, so that any two methods can be compared on the same users."""

    values: Mapping[str, Mapping[str, np.ndarray]]  # method -> full metric name -> [U] float64, NaN without a value
    estimates: Mapping[str, Mapping[str, Interval]]  # the same, summed up
    whole: Mapping[str, Mapping[str, float]]  # method -> metrics that belong to no user: coverage@k, gini@k
    bootstrap: Bootstrap

    @classmethod
    def of(
        cls,
        values: Mapping[str, Mapping[str, np.ndarray]],
        whole: Mapping[str, Mapping[str, float]],
        bootstrap: Bootstrap,
    ) -> Table:
        # all methods and metrics in one matrix: the same users are drawn for all of them, and drawn once
        keys = [(method, metric) for method, held in values.items() for metric in held]
        columns = [values[method][metric] for method, metric in keys]
        found = intervals(np.stack(columns, 1), bootstrap) if columns else []
        estimates: dict[str, dict[str, Interval]] = {method: {} for method in values}
        for (method, metric), estimate in zip(keys, found, strict=True):
            estimates[method][metric] = estimate
        return cls(values, estimates, whole, bootstrap)

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(self.values)

    def estimate(self, method: str, metric: str) -> Interval:
        """Raises ValueError for a method or a metric that isn't in the table."""
        require(method in self.estimates, f"no method {method!r}; measured: {sorted(self.estimates)}")
        require(metric in self.estimates[method], f"no metric {metric!r}; measured: {sorted(self.estimates[method])}")
        return self.estimates[method][metric]

    def mean(self, method: str, metric: str) -> float:
        return self.estimate(method, metric).mean

    def difference(self, ours: str, theirs: str, metric: str) -> Interval:
        """Ours minus theirs, paired by user."""
        for method in (ours, theirs):
            self.estimate(method, metric)
        return paired_difference(self.values[ours][metric], self.values[theirs][metric], self.bootstrap)

    def joined(self, other: Table) -> Table:
        """Both tables' methods; the rows of both must be the same users."""
        again = sorted(set(self.values) & set(other.values))
        require(not again, f"methods {again} are in both tables")
        return Table(
            {**self.values, **other.values},
            {**self.estimates, **other.estimates},
            {**self.whole, **other.whole},
            self.bootstrap,
        )

    def to_json(self) -> dict[str, dict[str, Any]]:
        """method -> metric -> {"mean", "low", "high", "users"}, or a number for coverage@k and gini@k; NaN is null."""
        return {
            method: {
                **{metric: _clean(asdict(held)) for metric, held in self.estimates[method].items()},
                **_clean(dict(self.whole.get(method, {}))),
            }
            for method in self.methods
        }

    def text(self, metrics: Sequence[str]) -> str:
        """Methods as rows, metrics as columns, each mean followed by its interval; aligned, for a terminal."""
        head = ["method", *metrics]
        rows = [[method, *(self._cell(method, metric) for metric in metrics)] for method in self.methods]
        counts = ["users", *(self._users(metric) for metric in metrics)]
        widths = [max(len(row[c]) for row in (head, *rows, counts)) for c in range(len(head))]
        lines = [_line(row, widths) for row in (head, *rows, counts)]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def _cell(self, method: str, metric: str) -> str:
        if metric in self.whole.get(method, {}):
            return f"{self.whole[method][metric]:.4f}"
        held = self.estimate(method, metric)
        return f"{held.mean:.4f} [{held.low:.4f}, {held.high:.4f}]" if held.users else "-"

    def _users(self, metric: str) -> str:
        counts = {held[metric].users for held in self.estimates.values() if metric in held}
        return "/".join(map(str, sorted(counts)))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _clean(held: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(item, float) and math.isnan(item) else item for key, item in held.items()}
