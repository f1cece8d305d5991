"""Work on many vectors is cut into ranges; a range that is finished once isn't done again, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.fingerprint import file_sha256
from recsys.storage import staging_beside, sync, write_file

LOG = "shards.jsonl"


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows start to stop of a source."""

    number: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def name(self) -> str:
        return f"shard-{self.number:05d}"


def cut(total: int, size: int) -> list[Shard]:
    return [Shard(i, start, min(start + size, total)) for i, start in enumerate(range(0, total, size))]


def written_shard(folder: Path, shard: Shard, write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """The line of a shard whose files `write` made: they appear whole, on disk, or not at all."""
    target = folder / shard.name
    staging = staging_beside(target)
    try:
        told = write(staging)
        files = {path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in staging.iterdir()}
        for name in [*sorted(files), ""]:
            sync(staging / name)
        shutil.rmtree(target, ignore_errors=True)  # of a run that died before its line was written
        staging.replace(target)
        sync(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {"shard": shard.number, "start": shard.start, "stop": shard.stop, "files": files, **told}


class ShardLog:
    """A folder of finished shards, and a line with the checksums of each."""

    def __init__(self, folder: Path, made_from: str) -> None:
        """Raises nothing for a folder of other settings or inputs: what it holds is removed."""
        self.folder = folder
        marker = folder / "made_from"
        if not marker.is_file() or marker.read_text() != made_from:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_file(marker, made_from.encode())
        self.lines = {line["shard"]: line for line in self._read()}

    def _read(self) -> list[dict[str, Any]]:
        """Lines that are whole and whose files are as they say; the last one may have been cut short."""
        path = self.folder / LOG
        lines = path.read_text().splitlines() if path.is_file() else []
        return [held for held in map(_parsed, lines) if held and self._whole(held)]

    def _whole(self, line: dict[str, Any]) -> bool:
        folder = self.folder / Shard(line["shard"], line["start"], line["stop"]).name
        return all(
            (folder / name).is_file() and file_sha256(folder / name) == told["sha256"]
            for name, told in line["files"].items()
        )

    def missing(self, shards: list[Shard]) -> list[Shard]:
        return [shard for shard in shards if shard.number not in self.lines]

    def finish(self, line: dict[str, Any]) -> None:
        self.lines[line["shard"]] = line
        with (self.folder / LOG).open("a") as log:
            log.write(json.dumps(line) + "\n")
            log.flush()
            os.fsync(log.fileno())


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
