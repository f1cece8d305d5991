"""Versions of an index are folders that never change, and one small file beside them names the one that is current."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from recsys.artefact import Artefact, ArtefactError, committing, join_uri, list_names, opened, peek, read_file, remove
from recsys.storage import is_local, local_path, write_file
from recsys.value import require

KIND = "index"
POINTER, LOCK = "CURRENT", ".lock"
NAME = re.compile(r"^\d{8}T\d{12}Z-[\w-]+-[0-9a-f]{8}$")
TRIES = 3  # of opening what is being pruned meanwhile


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which version is current, and which ones a rollback goes back to."""

    version: str
    before: tuple[str, ...] = ()  # the newest last


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions below one folder or URI.

    On a local disk publishers, rollbacks and prunings take turns by a lock of the file system. An object store has
    none: there one publisher at a time is the rule; readers need no rule anywhere.
    """

    root: str

    def publish(self, index: Artefact, keep: int = 3) -> str:
        """Copy an index below the root and make it current; returns the version's name.

        The current version and the `keep` - 1 before it stay, older ones are deleted. Readers see the old version or
        the new one: the pointer is written last, in one stroke.
        """
        require(keep >= 1, f"keep must be at least 1, got {keep}")
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z-{index.fingerprint}-{os.urandom(4).hex()}"
        require(
            bool(NAME.match(name)), f"{index.path} has fingerprint {index.fingerprint!r}: only letters, digits, _ and -"
        )
        with self._turn():
            held = self.pointer()
            before = (*held.before, held.version) if held else ()
            self._copy(index, name)
            self._point(Pointer(name, before[max(0, len(before) - (keep - 1)) :]))
            self._prune()
        return name

    def rollback(self) -> str:
        """Make the version before the current one current again; returns its name. Raises ValueError when there is none.

        The version that is left stays until another one is published.
        """
        with self._turn():
            held = self._told()
            require(
                bool(held.before), f"{self.root} keeps no version before {held.version}: publish with a larger keep"
            )
            *before, version = held.before
            require(peek(self.uri(version), KIND) is not None, f"{self.uri(version)} is gone: publish an index again")
            self._point(Pointer(version, tuple(before)))
        return version

    def current(self) -> str | None:
        """The name of the current version; None before anything was published."""
        held = self.pointer()
        return held.version if held else None

    def open(self) -> tuple[str, Artefact]:
        """The current version, verified. Raises ArtefactError when nothing was published or a file is damaged.

        Its files may go while they are read, when `keep` others are published meanwhile; the pointer names it no more then.
        """
        for _ in range(TRIES):
            name = self._told().version
            try:
                return name, opened(self.uri(name), KIND)
            except (ArtefactError, OSError):
                if self.current() == name:
                    raise
        return (name := self._told().version), opened(self.uri(name), KIND)

    def names(self) -> list[str]:
        """Whole versions, oldest first."""
        return [name for name in list_names(self.root) if NAME.match(name) and peek(self.uri(name), KIND) is not None]

    def uri(self, name: str) -> str:
        return join_uri(self.root, name)

    def pointer(self) -> Pointer | None:
        """Raises ArtefactError when the file is there but isn't a pointer."""
        text = read_file(self.uri(POINTER), missing=b"")
        if not text:
            return None
        try:
            told = json.loads(text)
            held = Pointer(told["version"], tuple(told["before"]))
            whole = all(NAME.match(name) for name in (held.version, *held.before))
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise ArtefactError(f"{self.uri(POINTER)} is damaged: publish an index again after deleting this file")
        return held

    def _told(self) -> Pointer:
        held = self.pointer()
        if held is None:
            raise ArtefactError(f"{self.root} holds no published index: run jobs.publish versions={self.root}")
        return held

    def _copy(self, index: Artefact, name: str) -> None:
        with committing(self.uri(name), KIND, fingerprint=index.fingerprint, meta=dict(index.meta)) as folder:
            for file in index.manifest["files"]:
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(index.path / file, folder / file)
        if (peek(self.uri(name), KIND) or {}).get("files") != index.manifest["files"]:
            remove(self.uri(name))
            raise ArtefactError(f"{index.path} changed while it was published: build the index again and publish it")

    def _point(self, pointer: Pointer) -> None:
        told = {"version": pointer.version, "before": pointer.before}
        write_file(self.uri(POINTER), json.dumps(told).encode())

    def _prune(self) -> None:
        """Delete what the pointer doesn't name: older versions, those rolled back, and what killed publishers left."""
        held = self._told()
        for name in list_names(self.root):
            if NAME.match(name) and name not in (held.version, *held.before):
                remove(self.uri(name))
        if is_local(self.root):
            for left in local_path(self.root).glob(".*.partial-*"):  # nobody else is at work: it is our turn
                shutil.rmtree(left, ignore_errors=True)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not is_local(self.root):
            yield
            return
        path = Path(local_path(self.root)) / LOCK
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
