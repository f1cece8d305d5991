"""A change is done when its record is on the disk: whoever loads the index after a crash finds every change that was told."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recsys.index.traits import Traits
from recsys.storage import aside, sync
from recsys.value import require

RECORD = re.compile(r"change-(\d{9})-([0-9a-f]{16})\.npz")


@dataclass(frozen=True)
class Change:
    """Items that were added or updated, or, without vectors, deleted."""

    ids: np.ndarray  # [m] int64
    vectors: np.ndarray | None = None  # [m, D] float32
    traits: Traits = field(default_factory=Traits)

    def packed(self) -> bytes:
        sink = io.BytesIO()
        vectors = {} if self.vectors is None else {"vectors": self.vectors}
        np.savez(sink, ids=self.ids, **vectors, **self.traits.columns())  # type: ignore[arg-type]
        return sink.getvalue()

    @classmethod
    def unpacked(cls, content: bytes) -> Change:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            columns = dict(held)
        return cls(columns["ids"], columns.get("vectors"), Traits.of_columns(columns))


class Journal:
    """Numbered records in a local folder, each named by its number and the checksum of its content."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.last = max(self._records(), default=0)

    def append(self, change: Change) -> int:
        """The number of the change, once it is on the disk."""
        content = change.packed()
        number = self.last + 1
        fresh = aside(self.folder / "change")
        fresh.write_bytes(content)
        sync(fresh)
        fresh.replace(self.folder / f"change-{number:09d}-{_digest(content)}.npz")
        sync(self.folder)
        self.last = number
        return number

    def since(self, number: int) -> Iterator[tuple[int, Change]]:
        """The changes after this one, in order. Raises ValueError naming a record that is missing or damaged."""
        records = self._records()
        self.last = max(self.last, number)
        for expected in range(number + 1, self.last + 1):
            path = records.get(expected)
            require(
                path is not None,
                f"{self.folder} lacks change {expected} of {self.last}: restore it, or load the index without a journal",
            )
            content = path.read_bytes() if path else b""
            require(
                path is not None and _digest(content) in path.name,
                f"{path} differs from its checksum: restore it, or load the index without a journal",
            )
            yield expected, Change.unpacked(content)

    def forget(self, number: int) -> None:
        """Delete the records up to this one, the oldest first: an index was saved that holds them."""
        for held, path in sorted(self._records().items()):
            if held <= number:
                path.unlink()

    def _records(self) -> dict[int, Path]:
        named = ((RECORD.fullmatch(path.name), path) for path in self.folder.iterdir())
        return {int(match[1]): path for match, path in named if match}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
