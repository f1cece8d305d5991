"""What was measured is appended to a file and never edited; tables, verdicts and pages are read from it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from recsys.value import require

FIRST_VERDICT_SEED = 100  # smaller ones are for development
ROOT = Path(__file__).resolve().parents[2]
Kind = Literal["cell", "case", "trial", "sweep", "real"]


@dataclass(frozen=True, slots=True)
class Record:
    """One seed of one arm in one world; of a case also what the detector said."""

    kind: Kind
    arm: str
    setting: str  # the setting's name, or its switches as text
    seed: int
    fingerprint: str  # of the recipe, and of the detector for a case
    metrics: Mapping[str, float]
    seconds: float  # CPU
    scale: str
    commit: str
    versions: Mapping[str, str]
    told: Mapping[str, Any] = field(default_factory=dict)  # cause and diagnosis of a case, knobs of a trial

    @property
    def key(self) -> tuple[str, str, str, int, str, str]:
        return self.kind, self.arm, self.setting, self.seed, self.fingerprint, self.scale


class Records:
    """The records of one problem: a JSON line each, appended when a seed is done, so that nothing is lost by a kill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held: dict[tuple[str, str, str, int, str, str], Record] = {}
        for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
            try:
                record = Record(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{path}:{number} isn't a record ({error}); remove the line and run again") from None
            self.held[record.key] = record

    def __iter__(self) -> Iterator[Record]:
        return iter(self.held.values())

    def __contains__(self, key: tuple[str, str, str, int, str, str]) -> bool:
        return key in self.held

    def append(self, records: Iterable[Record], write: bool = True) -> None:
        new = list(records)
        self.held |= {record.key: record for record in new}
        if write and new:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.writelines(json.dumps(_rounded(asdict(record)), sort_keys=True) + "\n" for record in new)

    def of(self, kind: Kind, fingerprints: Mapping[tuple[str, str], str], scale: str = "claim") -> list[Record]:
        """Records of these (arm, setting) cells whose fingerprint is still the cell's own."""
        return [
            record
            for record in self
            if record.kind == kind
            and record.scale == scale
            and fingerprints.get((record.arm, record.setting)) == record.fingerprint
        ]


def table(records: Sequence[Record]) -> dict[tuple[str, str], dict[int, Mapping[str, float]]]:
    """(arm, setting) -> seed -> metrics."""
    cells: dict[tuple[str, str], dict[int, Mapping[str, float]]] = {}
    for record in records:
        cells.setdefault((record.arm, record.setting), {})[record.seed] = record.metrics
    return cells


@lru_cache
def commit() -> str:
    """The commit that the working tree is at, with a plus sign where it differs from it; "unknown" without git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD").strip()
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no", "--", "recsys", "problems") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@lru_cache
def versions() -> Mapping[str, str]:
    return {name: version(name) for name in ("torch", "numpy")}


def parse_seeds(text: str) -> tuple[int, ...]:
    """ "100-104" or "100,102,7"; raises ValueError for anything else."""
    try:
        parts = [part.split("-") for part in str(text).replace(" ", "").split(",")]
        found = [seed for part in parts for seed in range(int(part[0]), int(part[-1]) + 1)]
        require(all(len(part) <= 2 for part in parts) and bool(found), "")
    except ValueError:
        raise ValueError(f'seeds must be like "100-104" or "100,101", got {text!r}') from None
    return tuple(dict.fromkeys(found))


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def _rounded(held: Any) -> Any:
    if isinstance(held, float):
        return float(f"{held:.6g}")
    if isinstance(held, dict):
        return {key: _rounded(item) for key, item in held.items()}
    return [_rounded(item) for item in held] if isinstance(held, (list, tuple)) else held
