"""Every arrow between processes is a folder whose manifest is written last: without it the artefact doesn't exist."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from recsys.fingerprint import file_sha256, fingerprint_of, plain
from recsys.storage import (
    filesystem,
    is_local,
    join_uri,
    list_names,
    local_path,
    make_parent,
    moved_aside,
    read_file,
    remove,
    staging_beside,
    sync,
    write_file,
)

__all__ = [
    "Artefact",
    "ArtefactError",
    "committing",
    "file_sha256",
    "fingerprint_of",
    "join_uri",
    "list_names",
    "opened",
    "peek",
    "read_file",
    "remove",
    "write_file",
]

MANIFEST = "manifest.json"
VERSION = 1
FIELDS = {"kind", "version", "fingerprint", "prefix", "created", "files", "meta"}
SEAL, UNSEALED = "seal", b"0" * 64  # the manifest's own checksum, over itself with zeros in its place
CHUNK = 1 << 20
TRIES = 3  # of reading what is being replaced meanwhile


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

    `meta` may be filled inside the block. Readers see the old artefact or the new one, never a mixture. Raises
    ArtefactError when the target is something else than an artefact: that is never overwritten.
    """
    if is_local(uri):
        _refuse_foreign(local_path(uri))
    staging = _staging(uri)
    try:
        yield staging
        prefix = "" if is_local(uri) else f"files-{fingerprint}-{os.urandom(4).hex()}"
        manifest = {"kind": kind, "version": VERSION, "fingerprint": fingerprint, "prefix": prefix}
        manifest |= {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        manifest |= {"files": _described(staging), "meta": meta}
        text = sealed(manifest)
        if is_local(uri):
            _publish_local(staging, local_path(uri), text)
        else:
            _publish_remote(staging, str(uri), prefix, text)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def peek(uri: str | Path, kind: str) -> Mapping[str, Any] | None:
    """The manifest, or None when there is no artefact of this kind."""
    manifest = unsealed(read_file(join_uri(uri, MANIFEST), missing=b""))
    return manifest if manifest is not None and manifest.get("kind") == kind else None


def sealed(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as bytes of which none can change unnoticed: its last entry is their checksum."""
    whole = {name: held for name, held in manifest.items() if name != SEAL} | {SEAL: UNSEALED.decode()}
    text = json.dumps(whole, indent=1, default=plain).encode()
    return _with_seal(text, hashlib.sha256(text).hexdigest().encode())


def unsealed(text: bytes) -> dict[str, Any] | None:
    """The manifest, or None when a byte is another one than was sealed; manifests of old have no seal."""
    try:
        manifest = json.loads(text)
        if set(manifest) == FIELDS:
            return manifest
        seal = manifest[SEAL].encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if hashlib.sha256(_with_seal(text, UNSEALED)).hexdigest().encode() == seal else None


def _with_seal(text: bytes, seal: bytes) -> bytes:
    """The text with another seal: the last string in it."""
    end = text.rindex(b'"')
    return text[: end - len(seal)] + seal + text[end:]


def opened(uri: str | Path, kind: str, *, verify: bool = True, cache: Path | None = None) -> Artefact:
    """The artefact as a local folder; a remote one is copied once, into `cache`, RECSYS_CACHE or the temporary folder.

    Raises ArtefactError when it is missing, of another kind or version, or when a file differs from its checksum.
    """
    manifest = _read_manifest(uri, kind)
    for _ in range(TRIES):
        try:
            return Artefact(_files(uri, manifest, verify, cache), manifest)
        except ArtefactError:
            newer = _read_manifest(uri, kind)
            if newer == manifest:
                raise
            manifest = newer
    return Artefact(_files(uri, manifest, verify, cache), manifest)


def _refuse_foreign(target: Path) -> None:
    try:
        names = [path.name for path in target.iterdir()]
    except FileNotFoundError:  # another writer may have moved it aside just now
        return
    except NotADirectoryError:
        names = [target.name]
    if names and MANIFEST not in names and target.exists() and not (target / MANIFEST).is_file():
        raise ArtefactError(f"{target} isn't an artefact and won't be overwritten: move it away or give another path")


def _staging(uri: str | Path) -> Path:
    target = local_path(uri) if is_local(uri) else Path(tempfile.gettempdir()) / "recsys-staging"
    target.parent.mkdir(parents=True, exist_ok=True)
    return staging_beside(target)


def _files_of(staging: Path) -> dict[str, Path]:
    paths = sorted(path for path in staging.rglob("*") if path.is_file())
    return {path.relative_to(staging).as_posix(): path for path in paths}


def _described(staging: Path) -> dict[str, Any]:
    files = _files_of(staging)
    if MANIFEST in files:
        raise ArtefactError(f"{MANIFEST} is the artefact's own: give the file another name")
    return {name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for name, path in files.items()}


def _publish_local(staging: Path, target: Path, manifest: bytes) -> None:
    for path in _files_of(staging).values():
        sync(path)
    (staging / MANIFEST).write_bytes(manifest)
    sync(staging / MANIFEST)
    sync(staging)
    replaced = []
    while not _settle(staging, target):  # another writer may come in between
        _refuse_foreign(target)
        replaced.append(moved_aside(target))
    sync(target.parent)
    for old in filter(None, replaced):
        shutil.rmtree(old, ignore_errors=True)


def _settle(staging: Path, target: Path) -> bool:
    """Rename a folder; False when another stands there already."""
    try:
        staging.replace(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _publish_remote(staging: Path, uri: str, prefix: str, manifest: bytes) -> None:
    """Files go below a prefix that no manifest names yet; the manifest, one object, is replaced in one stroke."""
    held, base = filesystem(uri)
    before = _prefix_of(uri)
    try:
        for name, path in _files_of(staging).items():
            make_parent(held, f"{base}/{prefix}/{name}")
            with path.open("rb") as source, held.open_output_stream(f"{base}/{prefix}/{name}") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
    except BaseException:
        with suppress(OSError):
            remove(join_uri(uri, prefix))
        raise
    write_file(join_uri(uri, MANIFEST), manifest)
    if before is not None:
        remove(join_uri(uri, before))


def _prefix_of(uri: str) -> str | None:
    try:
        prefix = json.loads(read_file(join_uri(uri, MANIFEST), missing=b"{}")).get("prefix", "")
    except (ValueError, AttributeError):
        return None
    return prefix if str(prefix).startswith("files-") and "/" not in prefix else None


def _read_manifest(uri: str | Path, kind: str) -> dict[str, Any]:
    held = read_file(join_uri(uri, MANIFEST), missing=b"")
    if not held:
        raise ArtefactError(f"{uri} holds no finished {kind}: run the job that makes it")
    try:
        manifest = _whole(held)
        names = [PurePosixPath(name) for name in (*manifest["files"], manifest["prefix"])]
        checkable = all({"bytes", "sha256"} <= told.keys() for told in manifest["files"].values())
        version, _, _ = int(manifest["version"]), manifest["meta"], manifest["fingerprint"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{join_uri(uri, MANIFEST)} is damaged: delete {uri} and make it again") from error
    if manifest.get("kind") != kind:
        raise ArtefactError(f"{uri} is of kind {manifest.get('kind')!r}, not {kind!r}: give the path of a {kind}")
    if version != VERSION:
        remedy = "update the code" if version > VERSION else "make the artefact again"
        raise ArtefactError(f"{uri} has format version {version}, this code reads {VERSION}: {remedy}")
    if not checkable or any(name.is_absolute() or ".." in name.parts for name in names):
        raise ArtefactError(f"{join_uri(uri, MANIFEST)} can't be trusted: a file has no checksum or lies elsewhere")
    return manifest


def _whole(text: bytes) -> dict[str, Any]:
    manifest = unsealed(text)
    if manifest is None:
        raise ValueError("the seal is broken or a field is missing")
    return manifest


def _files(uri: str | Path, manifest: Mapping[str, Any], verify: bool, cache: Path | None) -> Path:
    if not is_local(uri):
        return _fetched(str(uri), manifest, verify, cache)
    if verify:
        _verify(local_path(uri), manifest, uri)
    return local_path(uri)


def _verify(folder: Path, manifest: Mapping[str, Any], origin: str | Path) -> None:
    for name, told in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise ArtefactError(f"{join_uri(origin, name)} is missing: the artefact is incomplete, make it again")
        if path.stat().st_size != told["bytes"] or file_sha256(path) != told["sha256"]:
            raise ArtefactError(f"{join_uri(origin, name)} differs from its checksum: make the artefact again")


def _fetched(uri: str, manifest: Mapping[str, Any], verify: bool, cache: Path | None) -> Path:
    """A copy in the cache, named after URI and manifest; one that was damaged later is fetched again."""
    default = Path(tempfile.gettempdir()) / f"recsys-cache-{os.getuid()}"
    root = cache or Path(os.environ.get("RECSYS_CACHE", default))
    target = root / f"{manifest['kind']}-{fingerprint_of(uri, manifest)}"
    if (target / MANIFEST).is_file():
        try:
            if verify:
                _verify(target, manifest, target)
            return target
        except ArtefactError:
            remove(target)
    root.mkdir(parents=True, exist_ok=True)
    staging = staging_beside(target)
    try:
        _download(uri, manifest, staging)
        _verify(staging, manifest, uri)
        (staging / MANIFEST).write_bytes(sealed(manifest))
        _settle(staging, target)  # if another process was faster, its copy is the same
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _download(uri: str, manifest: Mapping[str, Any], folder: Path) -> None:
    held, base = filesystem(uri)
    for name in manifest["files"]:
        local = folder / name
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            with held.open_input_stream(f"{base}/{manifest['prefix']}/{name}") as source, local.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
        except FileNotFoundError as error:
            raise ArtefactError(f"{uri} lacks {name}: the artefact is incomplete, make it again") from error
