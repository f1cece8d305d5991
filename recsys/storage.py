"""Local paths and pyarrow.fs URIs behind one door."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pyarrow.fs as pafs

URI = re.compile(r"^[a-z][a-z0-9+.-]*://")


def is_local(uri: str | Path) -> bool:
    return isinstance(uri, Path) or not URI.match(uri) or str(uri).startswith("file://")


def local_path(uri: str | Path) -> Path:
    return Path(str(uri).removeprefix("file://"))


def join_uri(base: str | Path, *names: str) -> str:
    """A path below a local path or URI."""
    head, _, query = str(base).partition("?")
    joined = "/".join([head.rstrip("/"), *(name.strip("/") for name in names)])
    return f"{joined}?{query}" if query else joined


def filesystem(uri: str | Path) -> tuple[pafs.FileSystem, str]:
    """The filesystem of a URI and the path in it; AWS_ENDPOINT_URL points S3 at another server than Amazon's."""
    if is_local(uri):
        return pafs.LocalFileSystem(), str(local_path(uri).absolute())
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if str(uri).startswith("s3://") and endpoint and "?" not in str(uri):
        scheme, _, host = endpoint.partition("://")
        return pafs.S3FileSystem(endpoint_override=host, scheme=scheme or "http"), str(uri).removeprefix("s3://")
    return pafs.FileSystem.from_uri(str(uri))


def list_names(uri: str | Path) -> list[str]:
    """Names directly below a folder, sorted; none if it doesn't exist."""
    held, path = filesystem(uri)
    found = held.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in found)


def remove(uri: str | Path) -> None:
    """Delete a folder or file with all below it; its manifest goes first, so that no reader finds a broken whole."""
    held, path = filesystem(uri)
    manifest = f"{path}/manifest.json"
    if held.get_file_info(manifest).type == pafs.FileType.File:
        held.delete_file(manifest)
    kind = held.get_file_info(path).type
    if kind == pafs.FileType.Directory:
        held.delete_dir(path)
    elif kind == pafs.FileType.File:
        held.delete_file(path)


def read_file(uri: str | Path, missing: bytes | None = None) -> bytes:
    """The bytes of one small file; `missing` is returned when it isn't there, else FileNotFoundError is raised."""
    held, path = filesystem(uri)
    if missing is not None and held.get_file_info(path).type != pafs.FileType.File:
        return missing
    with held.open_input_stream(path) as stream:
        return stream.read()


def write_file(uri: str | Path, content: bytes) -> None:
    """Write one small file; locally aside and renamed, so that a reader sees the old or the new."""
    if is_local(uri):
        target = local_path(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.partial-{os.getpid()}")
        aside.write_bytes(content)
        aside.replace(target)
        return
    held, path = filesystem(uri)
    with held.open_output_stream(path) as stream:
        stream.write(content)
