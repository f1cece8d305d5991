"""Local paths and pyarrow.fs URIs behind one door."""

from __future__ import annotations

import os
import re
import shutil
import socket
from functools import lru_cache
from glob import escape
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlencode

import numpy as np
import pyarrow.fs as pafs

URI = re.compile(r"^[a-z][a-z0-9+.-]*://")
OBJECT_STORES = {"s3", "gcs", "abfs"}  # they know no folders: a name may contain slashes


def is_local(uri: str | Path) -> bool:
    return isinstance(uri, Path) or not URI.match(uri) or uri.startswith("file://")


def local_path(uri: str | Path) -> Path:
    text = str(uri)
    return Path(unquote(text.removeprefix("file://"))) if text.startswith("file://") else Path(text)


def join_uri(base: str | Path, *names: str) -> str:
    """A path below a local path or URI; a URI's query stays at the end."""
    head, mark, query = (str(base), "", "") if is_local(base) else str(base).partition("?")
    return "/".join([head.rstrip("/"), *(name.strip("/") for name in names)]) + mark + query


def filesystem(uri: str | Path) -> tuple[pafs.FileSystem, str]:
    """The filesystem of a URI and the path in it.

    AWS_ENDPOINT_URL points S3 at another server than Amazon's, as does `?endpoint_override=host:port&scheme=http`.
    """
    if is_local(uri):
        return pafs.LocalFileSystem(), str(local_path(uri).absolute())
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if endpoint and str(uri).startswith("s3://") and "endpoint_override=" not in str(uri):
        scheme, _, host = endpoint.rpartition("://")
        query = urlencode({"endpoint_override": host.rstrip("/"), "scheme": scheme or "https"})
        uri = f"{uri}{'&' if '?' in str(uri) else '?'}{query}"
    head, mark, query = str(uri).partition("?")
    scheme, _, path = head.partition("://")
    bucket, _, key = path.partition("/")
    held, root = _connected(f"{scheme}://{bucket}{mark}{query}")
    return held, "/".join([root.rstrip("/"), unquote(key).rstrip("/")]).rstrip("/")


@lru_cache(maxsize=16)
def _connected(root: str) -> tuple[pafs.FileSystem, str]:
    """A client keeps its connections; making one for every file costs more than a small file does."""
    return pafs.FileSystem.from_uri(root)


def make_parent(held: pafs.FileSystem, path: str) -> None:
    """The folder of a path, where the filesystem has folders."""
    if held.type_name not in OBJECT_STORES:
        held.create_dir(path.rpartition("/")[0], recursive=True)


def list_names(uri: str | Path) -> list[str]:
    """Names directly below a folder, sorted, hidden ones left out; none if it doesn't exist."""
    held, path = filesystem(uri)
    found = held.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in found if not info.base_name.startswith("."))


def remove(uri: str | Path) -> None:
    """Delete a folder or file with all below it, if it is there; no reader finds a part of it."""
    if is_local(uri):
        gone = moved_aside(local_path(uri))
        if gone is not None and gone.is_dir() and not gone.is_symlink():
            shutil.rmtree(gone, ignore_errors=True)
        elif gone is not None:
            gone.unlink()
        return
    held, path = filesystem(uri)
    manifest = f"{path}/manifest.json"
    if held.get_file_info(manifest).type == pafs.FileType.File:
        held.delete_file(manifest)
    kind = held.get_file_info(path).type
    if kind == pafs.FileType.Directory:
        held.delete_dir(path)
    elif kind == pafs.FileType.File:
        held.delete_file(path)


def aside(path: Path) -> Path:
    """A hidden name beside a path that is nobody else's; it tells who made it."""
    host = socket.gethostname().replace("-", "_")
    return path.with_name(f".{path.name}.partial-{host}-{os.getpid()}-{os.urandom(4).hex()}")


def moved_aside(path: Path) -> Path | None:
    """Hide a folder or file under another name in one stroke; None when it isn't there."""
    gone = aside(path)
    try:
        return path.replace(gone)
    except FileNotFoundError:
        return None


def staging_beside(target: Path) -> Path:
    """A new hidden folder beside the target; what processes of this machine left when they died is swept away."""
    staging = aside(target)
    stem = staging.name.rsplit("-", 2)[0]
    for left in target.parent.glob(f"{escape(stem)}-*"):
        pid = left.name.removeprefix(f"{stem}-").split("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    staging.mkdir()
    return staging


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives and is another user's
        return True
    return True


def read_file(uri: str | Path, missing: bytes | None = None) -> bytes:
    """The bytes of one small file; `missing` is returned when it isn't there, else FileNotFoundError is raised."""
    held, path = filesystem(uri)
    if missing is not None and held.get_file_info(path).type != pafs.FileType.File:
        return missing
    try:
        with held.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError:
        if missing is None:
            raise
        return missing


def sync(path: Path) -> None:
    """Wait until a local file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(uri: str | Path, content: bytes) -> None:
    """Write one small file; a reader sees the old one or the new one, after a power cut as well."""
    if is_local(uri):
        target = local_path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = aside(target)
        with fresh.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(target)
        return
    held, path = filesystem(uri)
    make_parent(held, path)
    with held.open_output_stream(path) as stream:
        stream.write(content)


def mapped(file: IO[bytes], dtype: type) -> np.ndarray:
    """What was written to an open file, which stays when the file is closed; one without bytes can't be mapped.

    What is written to the array stays in this process.
    """
    file.flush()
    return np.memmap(file, dtype, "c").view(np.ndarray) if file.tell() else np.zeros(0, dtype)
