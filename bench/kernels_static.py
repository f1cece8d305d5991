"""Every configuration of every kernel is compiled ahead of time, and the machine code is held to its bars. No GPU is needed.

python -m bench.kernels_static [--only OP ...] [--arch 90 ...] [--triton 3.7.1 ...]

The full run writes bench/kernels_static.json and a copy with the day in its name; a filtered run only prints. Exit status 1
when a default configuration misses a bar.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from subprocess import PIPE
from typing import Any

from kernels.static import ARCHS, StaticCase

VERSIONS = ("3.6.0", "3.7.1", "3.9.0")  # torch 2.11's, torch 2.13's, the newest
TRITONS = Path(".data/triton")
OUT = Path("bench/kernels_static.json")
WORKERS = 2
SHARED_LIMIT = {80: 166_912, 90: 232_448, 100: 232_448}  # bytes a block may ask for
TENSOR_CORE = {80: "HMMA", 90: "HGMMA", 100: "UTCMMA"}
CORES = tuple(TENSOR_CORE.values())
COLUMNS = ("registers", "stack", "shared", "LDGSTS", "instructions", "loop", "per_lane", "seconds")

Row = dict[str, Any]


def main() -> None:
    chosen = _arguments()
    cases = {
        f"{op}/{case.name}": case for op, case in cases_of(Path("kernels")) if not chosen.only or op in chosen.only
    }
    if not cases:
        sys.exit(f"no case for --only {chosen.only}; the ops are the folders of kernels/ that hold a static.py")
    jobs = [
        (version, arch, [name for name, case in cases.items() if arch in case.archs])
        for version in chosen.triton
        for arch in chosen.arch
    ]
    begin = time.perf_counter()
    rows: list[Row] = []
    print(
        " ".join([f"{'case':44}", "arch  ", "triton", *(f"{name:>5}" for name in COLUMNS), "tensor cores"]), flush=True
    )
    with ThreadPoolExecutor(WORKERS) as pool:
        for done in pool.map(lambda job: run_cases(cases, *job), jobs):
            rows += done
    rows.sort(key=lambda row: (row["case"], row["arch"], row["triton"]))
    missed = [f"{_place(row)}: {miss}" for row in rows for miss in row["misses"] if row["default"]]
    if chosen.full:
        _write(rows, missed)
    print(f"\n{len(rows)} compiled in {time.perf_counter() - begin:.0f} s")
    if missed:
        sys.exit("\n".join([f"{len(missed)} missed by default configurations:", *missed]))


def cases_of(root: Path) -> Iterator[tuple[str, StaticCase]]:
    """(op, case) of every `<op>/static.py` in a package's folder: the files are the list."""
    for path in sorted(root.glob("*/static.py")):
        for case in importlib.import_module(f"{root.name}.{path.parent.name}.static").CASES:
            yield path.parent.name, case


def misses(case: StaticCase, row: Mapping[str, Any]) -> list[str]:
    """The bars that a measured case doesn't reach, in words with the figure."""
    if "error" in row:
        return [f"doesn't compile: {row['error']}"]
    arch, bars = row["arch"], case.bars
    found = []
    if row["shared"] > SHARED_LIMIT[arch]:
        found.append(f"{row['shared']} B of shared memory, sm_{arch} has {SHARED_LIMIT[arch]}")
    if row["stack"] > bars.stack:
        found.append(f"{row['stack']} B of stack, the bar is {bars.stack}")
    spills = row.get("LDL", 0) + row.get("STL", 0)
    if bars.stack == 0 and spills:
        found.append(f"{spills} local loads and stores, the bar is 0")
    if bars.tensor_core and not row.get(TENSOR_CORE[arch]):
        found.append(f"no {TENSOR_CORE[arch]}")
    if bars.per_lane is not None and arch == 90 and (row["per_lane"] is None or row["per_lane"] > bars.per_lane):
        found.append(f"{row['per_lane']} instructions per logit-lane, the bar is {bars.per_lane}")
    return found


def run_cases(cases: Mapping[str, StaticCase], version: str, arch: int, names: Sequence[str]) -> list[Row]:
    """Compiles the named cases in a process of their own; a case at which the process dies is a row with an error."""
    command = [sys.executable, "-m", "bench.kernels_compile", str(arch), *names]
    rows: dict[str, Row] = {}
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(command, env=_environment(version), stdout=PIPE, stderr=complaints, text=True) as worker,
    ):
        for line in worker.stdout or ():
            row = json.loads(line)
            rows[row["case"]] = _judged(cases[row["case"]], row)
            print(_line(rows[row["case"]]), flush=True)
        worker.wait()
        complaints.seek(0)
        ending = f"exit status {worker.returncode}: {complaints.read()[-300:]}"
    for name in names:
        if name not in rows:
            row = {"case": name, "triton": version, "arch": arch, "error": ending}
            rows[name] = _judged(cases[name], row)
            print(_line(rows[name]), flush=True)
    return list(rows.values())


def _judged(case: StaticCase, row: Row) -> Row:
    return row | {"default": case.default, "misses": misses(case, row)}


def _environment(version: str) -> dict[str, str]:
    env = {name: text for name, text in os.environ.items() if name not in ("TRITON_INTERPRET", "PYTHONPATH")}
    env |= {
        "TRITON_DEFAULT_FP_FUSION": "1",  # said aloud: 3.10 turns the default off
        "TRITON_CACHE_DIR": str((TRITONS / f"cache-{version}").resolve()),
        "OMP_NUM_THREADS": "1",
    }
    if version != metadata.version("triton"):
        env["PYTHONPATH"] = str((TRITONS / version).resolve())
        if not (TRITONS / version / "triton").exists():
            sys.exit(f"triton {version} isn't in {TRITONS / version}: `make kernels` puts it there")
    return env


def _line(row: Row) -> str:
    figures = " ".join(f"{_shown(row.get(name)):>{max(5, len(name))}}" for name in COLUMNS)
    cores = " ".join(f"{name} {row[name]}" for name in CORES if name in row)
    remark = ("MISS " if row["default"] else "note ") + "; ".join(row["misses"]) if row["misses"] else ""
    return f"{row['case']:44} sm_{row['arch']:<3} {row['triton']:6} {figures} {cores:12} {remark}".rstrip()


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:g}" if isinstance(figure, float) else str(figure)


def _place(row: Row) -> str:
    return f"{row['case']} sm_{row['arch']} triton {row['triton']}"


def _write(rows: Sequence[Row], missed: Sequence[str]) -> None:
    """One row a line, so that a change of one kernel is a change of its lines; seconds are left out, they always change."""
    day = datetime.now(UTC).date().isoformat()
    kept = [{name: figure for name, figure in row.items() if name != "seconds"} for row in rows]
    head = json.dumps({"date": day, "tritons": VERSIONS, "missed": missed})[:-1]
    text = head + ', "rows": [\n' + ",\n".join(json.dumps(row) for row in kept) + "\n]}\n"
    for path in (OUT, OUT.with_stem(f"{OUT.stem}_{day}")):
        path.write_text(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.kernels_static", description="Compile the kernels and hold them to their bars."
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="OP", help="ops, such as infonce; all if not given")
    parser.add_argument("--arch", nargs="+", type=int, choices=ARCHS, default=ARCHS)
    parser.add_argument("--triton", nargs="+", choices=VERSIONS, default=VERSIONS)
    chosen = parser.parse_args()
    chosen.full = not chosen.only and chosen.arch == ARCHS and chosen.triton == VERSIONS
    return chosen


if __name__ == "__main__":
    main()
