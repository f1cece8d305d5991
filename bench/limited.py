"""A command with so much memory and no more, pages of mapped files among it: as in a container of that size.

python -m bench.limited 11 [--cold FOLDER ...] -- COMMAND...

Needs root and Linux's control groups. Files below the cold folders leave the page cache first, since pages that are there
already cost the command nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Names:
    """A version's files."""

    parent: Path
    limit: str
    peak: str
    swap: str  # set last: it can't be below the limit


V1 = Names(ROOT / "memory", "memory.limit_in_bytes", "memory.max_usage_in_bytes", "memory.memsw.limit_in_bytes")
V2 = Names(ROOT, "memory.max", "memory.peak", "memory.swap.max")


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    peak: int  # bytes charged at most


def limited(command: Sequence[str], limit: int, cold: Sequence[Path] = ()) -> Ran:
    """Run a command in a group of its own. Raises PermissionError where memory can't be limited."""
    for folder in cold:
        forget(folder)
    names = V1 if (V1.parent / V1.limit).exists() else V2
    with _group(names, limit) as folder:

        def enter() -> None:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

        done = subprocess.run(command, check=False, preexec_fn=enter)
        return Ran(done.returncode, int((folder / names.peak).read_text()))


@contextmanager
def _group(names: Names, limit: int) -> Iterator[Path]:
    folder: Path | None = None
    try:
        try:
            folder = Path(tempfile.mkdtemp(prefix="bench-", dir=names.parent))
            (folder / names.limit).write_text(str(limit))
        except OSError as error:  # not root, or a parent that doesn't hand memory down
            raise PermissionError(f"no memory can be limited below {names.parent} ({error}): run as root") from error
        with suppress(OSError):  # a machine may have no swap to limit
            (folder / names.swap).write_text(str(limit if names is V1 else 0))
        yield folder
    finally:
        if folder is not None:
            folder.rmdir()


def forget(folder: Path) -> None:
    """Drop what the page cache holds of the files below a folder; links are followed."""
    for held, _, names in os.walk(folder, followlinks=True):
        for name in names:
            with Path(held, name).open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("gb", type=float, help="of 10^9 bytes")
    told.add_argument("--cold", nargs="*", type=Path, default=[])
    told.add_argument("command", nargs=argparse.REMAINDER)
    given = told.parse_args()
    ran = limited([word for word in given.command if word != "--"], int(given.gb * 1e9), given.cold)
    print(f"peak {ran.peak / 1e9:.3f} of {given.gb:g} GB", flush=True)
    sys.exit(ran.code)


if __name__ == "__main__":
    main()
