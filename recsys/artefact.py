"""Every arrow between processes is a folder whose manifest is written last: without it the artefact doesn't exist."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from recsys.storage import filesystem, is_local, join_uri, list_names, local_path, read_file, remove, write_file

__all__ = [
    "Artefact", "ArtefactError", "committing", "fingerprint_of", "join_uri", "list_names", "opened", "peek",
    "read_file", "remove", "write_file",
]  # fmt: skip

MANIFEST = "manifest.json"
VERSION = 1
CHUNK = 1 << 20


class ArtefactError(RuntimeError):
    """An artefact is missing, of another kind, or not what its manifest says; the message names file and remedy."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """A verified local copy of an artefact."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        return self.manifest["fingerprint"]

    @property
    def meta(self) -> Mapping[str, Any]:
        return self.manifest["meta"]


@contextmanager
def committing(uri: str | Path, kind: str, *, fingerprint: str, meta: dict[str, Any]) -> Iterator[Path]:
    """Yield a staging folder that becomes the artefact when the block ends well, and vanishes when it doesn't.

    `meta` may be filled inside the block. Readers see the old artefact or the new one, never a mixture.
    """
    staging = _staging(uri)
    try:
        yield staging
        prefix = "" if is_local(uri) else f"files-{fingerprint}-{os.urandom(4).hex()}"
        manifest = _describe(staging, {"kind": kind, "version": VERSION, "fingerprint": fingerprint, "prefix": prefix})
        manifest |= {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "meta": meta}
        text = json.dumps(manifest, indent=1).encode()
        if is_local(uri):
            _publish_local(staging, local_path(uri), text)
        else:
            _publish_remote(staging, str(uri), prefix, text)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def peek(uri: str | Path, kind: str) -> Mapping[str, Any] | None:
    """The manifest, or None when there is no artefact of this kind."""
    held = read_file(join_uri(uri, MANIFEST), missing=b"")
    if not held:
        return None
    try:
        manifest = json.loads(held)
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("kind") == kind else None


def opened(uri: str | Path, kind: str, *, verify: bool = True, cache: Path | None = None) -> Artefact:
    """The artefact as a local folder; a remote one is copied into the cache once.

    Raises ArtefactError when it is missing, of another kind or version, or when a file differs from its checksum.
    """
    manifest = _read_manifest(uri, kind)
    folder = local_path(uri) if is_local(uri) else _fetched(str(uri), manifest, cache)
    if verify:
        for name, told in manifest["files"].items():
            _verify(folder, name, told)
    return Artefact(folder, manifest)


def fingerprint_of(*parts: Any) -> str:
    """16 hex digits that are the same for equal values, in every process."""
    text = json.dumps(parts, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _plain(held: Any) -> Any:
    if is_dataclass(held) and not isinstance(held, type):
        return {"type": type(held).__qualname__, **asdict(held)}
    return repr(held)


def _staging(uri: str | Path) -> Path:
    if not is_local(uri):
        return Path(tempfile.mkdtemp(prefix="recsys-staging-"))
    target = local_path(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    return Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-{os.getpid()}-", dir=target.parent))


def _sweep(target: Path) -> None:
    """Remove what writers left that no longer live."""
    for left in target.parent.glob(f".{target.name}.partial-*"):
        pid = left.name.rsplit(".partial-", 1)[1].split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _describe(staging: Path, head: dict[str, Any]) -> dict[str, Any]:
    paths = sorted(path for path in staging.rglob("*") if path.is_file())
    files = {
        path.relative_to(staging).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in paths
    }
    return {**head, "files": files}


def _publish_local(staging: Path, target: Path, manifest: bytes) -> None:
    for path in staging.rglob("*"):
        if path.is_file():
            _sync(path)
    (staging / MANIFEST).write_bytes(manifest)
    _sync(staging / MANIFEST)
    staging.chmod(0o755)
    if target.exists():
        old = target.with_name(f".{target.name}.partial-{os.getpid()}-old-{os.urandom(4).hex()}")
        target.replace(old)
        staging.replace(target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        staging.replace(target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish_remote(staging: Path, uri: str, prefix: str, manifest: bytes) -> None:
    held, base = filesystem(uri)
    before = peek_prefix(uri)
    for path in sorted(staging.rglob("*")):
        if path.is_file():
            name = f"{base}/{prefix}/{path.relative_to(staging).as_posix()}"
            held.create_dir(name.rsplit("/", 1)[0], recursive=True)
            with path.open("rb") as source, held.open_output_stream(name) as sink:
                shutil.copyfileobj(source, sink, CHUNK)
    write_file(join_uri(uri, MANIFEST), manifest)
    if before and before != prefix:
        remove(join_uri(uri, before))


def peek_prefix(uri: str) -> str:
    held = read_file(join_uri(uri, MANIFEST), missing=b"{}")
    return json.loads(held).get("prefix", "")


def _read_manifest(uri: str | Path, kind: str) -> dict[str, Any]:
    held = read_file(join_uri(uri, MANIFEST), missing=b"")
    if not held:
        raise ArtefactError(f"{uri} holds no finished {kind}: run the job that makes it")
    try:
        manifest = json.loads(held)
        names = [PurePosixPath(name) for name in manifest["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{join_uri(uri, MANIFEST)} is damaged: delete {uri} and make it again") from error
    if manifest.get("kind") != kind:
        raise ArtefactError(f"{uri} is of kind {manifest.get('kind')!r}, not {kind!r}: give the path of a {kind}")
    if manifest.get("version") != VERSION:
        raise ArtefactError(f"{uri} has format version {manifest.get('version')}, this code reads {VERSION}: update")
    if any(name.is_absolute() or ".." in name.parts for name in names):
        raise ArtefactError(f"{join_uri(uri, MANIFEST)} names files outside the folder: it can't be trusted")
    return manifest


def _verify(folder: Path, name: str, told: Mapping[str, Any]) -> None:
    path = folder / name
    if not path.is_file():
        raise ArtefactError(f"{path} is missing: the artefact is incomplete, make it again")
    if path.stat().st_size != told["bytes"] or file_sha256(path) != told["sha256"]:
        raise ArtefactError(f"{path} isn't what its manifest says (checksum differs): make the artefact again")


def _fetched(uri: str, manifest: Mapping[str, Any], cache: Path | None) -> Path:
    root = cache or Path(os.environ.get("RECSYS_CACHE", str(Path(tempfile.gettempdir()) / "recsys-cache")))
    target = root / f"{manifest['kind']}-{fingerprint_of(uri, manifest)}"
    if (target / MANIFEST).exists():
        return target
    root.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".fetch-", dir=root))
    held, base = filesystem(uri)
    for name in manifest["files"]:
        local = staging / name
        local.parent.mkdir(parents=True, exist_ok=True)
        with held.open_input_stream(f"{base}/{manifest['prefix']}/{name}") as source, local.open("wb") as sink:
            shutil.copyfileobj(source, sink, CHUNK)
    (staging / MANIFEST).write_text(json.dumps(manifest))
    try:
        staging.replace(target)
    except OSError:  # another process was faster; its copy is the same
        shutil.rmtree(staging, ignore_errors=True)
    return target
