"""Our own append-only metrics file: one JSON object a line, and the source of truth about every run."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from recsys.storage import is_local, join_uri, list_names, local_path, read_file, write_file

RESERVED = frozenset({"run", "job", "attempt", "step", "time", "kind"})
SYNC_SECONDS = 5.0  # at most so much of a log is lost when the machine dies; a dying process loses nothing
UPLOAD_SECONDS = 60.0

Record = dict[str, Any]
Series = dict[
    str, np.ndarray[Any, Any]
]  # "step", "time", "attempt" and every number, all [n]; NaN where a record lacks it


class MetricsLog:
    """What was measured stays measured: lines are appended whole and never changed.

    A local path is appended to in place, so several processes may write to one file. An object store knows no append:
    at a URI every writer keeps an object of its own below `<path>.parts/`, which it replaces now and then.
    """

    def __init__(self, path: str | Path, run_id: str, attempt: int = 1, *, job: str = "train") -> None:
        if attempt < 1:
            raise ValueError(f"attempts count from 1, got {attempt}")
        self._head = {"run": run_id, "job": job, "attempt": attempt}
        self._sink = _LocalSink(local_path(path)) if is_local(path) else _RemoteSink(str(path))

    def log(self, step: int, kind: str, /, **numbers: float) -> None:
        """Append one record of numbers. Raises ValueError when a number takes the name of a field of the record."""
        self._append(int(step), kind, {name: float(held) for name, held in numbers.items()})

    def note(self, kind: str, /, **fields: Any) -> None:
        """Append one record of JSON-able fields, which aren't a point of any curve."""
        self._append(None, kind, fields)

    def close(self) -> None:
        self._sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _append(self, step: int | None, kind: str, fields: dict[str, Any]) -> None:
        clash = RESERVED & fields.keys()
        if clash:
            raise ValueError(f"{sorted(clash)} are names of the record itself: log the numbers under other names")
        record = {**self._head, "step": step, "time": round(time.time(), 3), "kind": kind, **_encode(fields)}
        self._sink.write(json.dumps(record, allow_nan=False).encode() + b"\n")


def read_records(path: str | Path) -> list[Record]:
    """Every whole record of a log, in the order of writing; a line torn by a dying writer is passed over."""
    texts = [read_file(path, missing=b"")]
    if not is_local(path):
        parts = _parts_of(str(path))
        texts += [read_file(join_uri(parts, name)) for name in list_names(parts)]
    records = [record for text in texts for line in text.split(b"\n") if (record := _decode_line(line)) is not None]
    return records if is_local(path) else sorted(records, key=lambda record: record["time"])


def read_metrics(path: str | Path, run: str | None = None) -> dict[str, Series]:
    """The numbers of one run as arrays by kind, sorted by step; without `run`, of the run that wrote last.

    A retry goes back to its checkpoint and takes steps anew, so what earlier attempts wrote from the retry's first
    step on no longer belongs to the run and is left out; of the rest, the last record of a step counts.
    """
    records = read_records(path)
    if run is None and records:
        run = records[-1]["run"]
    by_kind: dict[str, list[Record]] = {}
    for record in records:
        if record["run"] == run and record["step"] is not None:
            by_kind.setdefault(record["kind"], []).append(record)
    return {kind: _series(_last_attempts(held)) for kind, held in by_kind.items()}


def next_attempt(path: str | Path, run_id: str, job: str) -> int:
    """One more than the attempts that this job of this run has made."""
    made = [record["attempt"] for record in read_records(path) if (record["run"], record["job"]) == (run_id, job)]
    return 1 + max(made, default=0)


class _LocalSink:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_RDWR, 0o644)
        self._synced = time.monotonic()
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")  # shut off the line that a dead writer left half done

    def write(self, line: bytes) -> None:
        # one write of a whole line: O_APPEND keeps the lines of several processes apart
        written = os.write(self._descriptor, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes of a metrics line were written: is the disk full?")
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class _RemoteSink:
    def __init__(self, uri: str) -> None:
        self._uri = join_uri(_parts_of(uri), f"{time.time_ns()}-{os.urandom(4).hex()}.jsonl")
        self._lines: list[bytes] = []
        self._sent = -math.inf

    def write(self, line: bytes) -> None:
        self._lines.append(line)
        if time.monotonic() - self._sent > UPLOAD_SECONDS:
            self.close()

    def close(self) -> None:
        write_file(self._uri, b"".join(self._lines))
        self._sent = time.monotonic()


def _parts_of(uri: str) -> str:
    head, _, query = uri.partition("?")
    return f"{head}.parts?{query}" if query else f"{head}.parts"


def _encode(held: Any) -> Any:
    """JSON has no word for NaN and infinity: they are written as strings, which the reader knows."""
    if isinstance(held, Mapping):
        return {str(name): _encode(entry) for name, entry in held.items()}
    if isinstance(held, (list, tuple)):
        return [_encode(entry) for entry in held]
    if isinstance(held, np.generic):
        held = held.item()
    if isinstance(held, float) and not math.isfinite(held):
        return str(held)
    return held if isinstance(held, (str, int, float, bool)) or held is None else str(held)


def _decode_line(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.keys() >= RESERVED else None


def _numbers(record: Record) -> dict[str, float | None]:
    return {name: _number(held) for name, held in record.items() if name not in RESERVED}


def _number(held: Any) -> float | None:
    if isinstance(held, str) and held in ("nan", "inf", "-inf"):
        return float(held)
    return float(held) if isinstance(held, (int, float)) and not isinstance(held, bool) else None


def _last_attempts(records: list[Record]) -> list[Record]:
    begins: dict[tuple[str, int], int] = {}
    for record in records:
        key = record["job"], record["attempt"]
        begins[key] = min(begins.get(key, record["step"]), record["step"])
    kept: dict[int, Record] = {}
    for record in records:
        job, attempt = record["job"], record["attempt"]
        retries = [begin for (of, later), begin in begins.items() if of == job and later > attempt]
        if record["step"] < min(retries, default=math.inf):
            kept[record["step"]] = record
    return [kept[step] for step in sorted(kept)]


def _series(records: list[Record]) -> Series:
    rows = [_numbers(record) for record in records]
    names = dict.fromkeys(name for row in rows for name, held in row.items() if held is not None)
    series: Series = {name: np.array([_or_nan(row.get(name)) for row in rows], dtype=np.float64) for name in names}
    series["step"] = np.array([record["step"] for record in records], dtype=np.int64)
    series["attempt"] = np.array([record["attempt"] for record in records], dtype=np.int64)
    series["time"] = np.array([record["time"] for record in records], dtype=np.float64)
    return series


def _or_nan(held: float | None) -> float:
    return math.nan if held is None else held
