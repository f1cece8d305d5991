"""Bad rows are set aside, counted and kept for a look; only faults of the schema stop a run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from recsys.data.tables import QUARANTINE

EARLIEST = 631_152_000  # 1990-01-01: older events are mistakes of a clock or of a unit
DAY = 86_400


@dataclass(slots=True)
class Quarantine:
    """Rows of one table with the first reason found against each."""

    table: str
    rows: int
    reason: np.ndarray = field(init=False)
    column: np.ndarray = field(init=False)
    value: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.reason, self.column, self.value = (np.full(self.rows, "", dtype=object) for _ in range(3))

    def add(self, wrong: np.ndarray, column: str, values: pa.ChunkedArray, reason: str) -> None:
        """Set rows aside that aren't yet."""
        fresh = np.flatnonzero(wrong & (self.reason == ""))
        self.reason[fresh], self.column[fresh] = reason, column
        self.value[fresh] = [str(held) for held in values.take(pa.array(fresh)).to_pylist()]

    @property
    def good(self) -> np.ndarray:
        return np.flatnonzero(self.reason == "")

    def as_table(self) -> pa.Table:
        bad = np.flatnonzero(self.reason != "")
        names = np.full(len(bad), self.table, dtype=object)
        columns = [names, bad, self.column[bad], self.value[bad], self.reason[bad]]
        return pa.table(
            [pa.array(held, field.type) for held, field in zip(columns, QUARANTINE, strict=True)], QUARANTINE
        )


def clean_events(events: pa.Table, originals: dict[str, pa.ChunkedArray]) -> tuple[pa.Table, pa.Table]:
    """(usable events, quarantine). `originals` are the columns as they were read, for the record.

    Set aside: no user, no item, no time or an impossible one, returns (quantity not positive, or value below 0 where
    there is no quantity), numbers that aren't finite, and lines that are the same in every column (the first stays).
    """
    held = Quarantine("events", len(events))
    for name in ("user", "item", "time"):
        held.add(
            events[name].is_null().to_numpy(),
            name,
            originals[name],
            f"no {name}" if name != "time" else "no readable time",
        )
    times = events["time"].fill_null(0).to_numpy()
    held.add((times < EARLIEST) | (times > time.time() + DAY), "time", originals["time"], "impossible time")
    for name in ("quantity", "value"):
        if name in events.column_names:
            numbers = events[name].to_numpy()
            held.add(~np.isfinite(numbers), name, originals[name], f"{name} isn't a finite number")
            if name == "quantity":
                held.add(numbers <= 0, name, originals[name], "return or nothing taken")
            elif "quantity" not in events.column_names:
                held.add(numbers < 0, name, originals[name], "return")
    held.add(_again(events), "time", originals["time"], "duplicate line")
    return events.take(pa.array(held.good)), held.as_table()


def clean_entities(table: pa.Table, kind: str) -> tuple[pa.Table, pa.Table]:
    """(rows with an id of their own, quarantine)."""
    held = Quarantine(f"{kind}s", len(table))
    held.add(table[kind].is_null().to_numpy(), kind, table[kind], f"no {kind}")
    held.add(_again(table.select([kind])), kind, table[kind], f"{kind} stands there twice")
    return table.take(pa.array(held.good)), held.as_table()


def _again(table: pa.Table) -> np.ndarray:
    marked = table.append_column("__row", pa.array(np.arange(len(table))))
    first = marked.group_by(table.column_names, use_threads=False).aggregate([("__row", "min")])["__row_min"].to_numpy()
    again = np.ones(len(table), bool)
    again[first] = False
    return again
