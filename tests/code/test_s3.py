"""Artefacts in an object store: no rename and no folders, yet a reader never sees half of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest
import ray
from moto.server import ThreadedMotoServer

from recsys import artefact
from recsys.artefact import (
    ArtefactError,
    committing,
    fingerprint_of,
    join_uri,
    opened,
    peek,
    read_file,
    remove,
    write_file,
)
from recsys.cluster.start import ClusterSpec, connected
from recsys.index.versions import Versions
from recsys.storage import filesystem, list_names

FILES = {"weights.bin": bytes(range(256)) * 700, "parts/part 0.bin": b"first", "empty": b""}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    held = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    held.start()
    host, port = held.get_host_and_port()
    yield f"http://{host}:{port}"
    held.stop()


@pytest.fixture(scope="module")
def bucket(server: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, held in environment(server).items():
            patch.setenv(name, held)
        endpoint = server.removeprefix("http://")
        pafs.S3FileSystem(endpoint_override=endpoint, scheme="http", allow_bucket_creation=True).create_dir("shop")
        yield "s3://shop"


def environment(server: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
    return keys | {"AWS_ENDPOINT_URL": server, "AWS_REGION": "us-east-1"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def commit(uri: str, files: dict[str, bytes] = FILES, fingerprint: str = "f1") -> None:
    with committing(uri, "thing", fingerprint=fingerprint, meta={"made": fingerprint}) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def test_what_is_committed_is_opened(bucket: str, cache: Path) -> None:
    uri = f"{bucket}/run one/a"
    assert peek(uri, "thing") is None
    with pytest.raises(ArtefactError, match="no finished thing"):
        opened(uri, "thing")
    commit(uri)
    held = opened(uri, "thing")
    assert {name: (held.path / name).read_bytes() for name in held.manifest["files"]} == FILES
    assert held.path.parent == cache
    assert opened(uri, "thing").path == held.path
    assert list_names(f"{bucket}/run one") == ["a"]
    remove(uri)
    assert peek(uri, "thing") is None
    assert list_names(uri) == []


def test_replacing_leaves_no_old_files_behind(bucket: str, cache: Path) -> None:
    uri = f"{bucket}/replaced"
    commit(uri, fingerprint="f1")
    commit(uri, {"x": b"new"}, fingerprint="f2")
    held = opened(uri, "thing")
    assert held.fingerprint == "f2"
    assert (held.path / "x").read_bytes() == b"new"
    assert len(list_names(uri)) == 2  # the manifest and its files
    assert len(list(cache.iterdir())) == 1


def test_failed_upload_leaves_the_old_artefact(bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"{bucket}/failing"
    commit(uri)
    with pytest.raises(ZeroDivisionError), committing(uri, "thing", fingerprint="f2", meta={}) as folder:
        (folder / "x").write_bytes(b"half")
        raise ZeroDivisionError
    uploads: list[int] = []

    def breaking(source: object, sink: object, length: int) -> None:
        uploads.append(length)
        if len(uploads) == 2:
            raise ConnectionError("the line is dead")

    monkeypatch.setattr(artefact.shutil, "copyfileobj", breaking)
    with pytest.raises(ConnectionError):
        commit(uri, fingerprint="f2")
    monkeypatch.undo()
    assert len(uploads) == 2
    assert opened(uri, "thing", cache=cache).fingerprint == "f1"
    assert len(list_names(uri)) == 2


def test_damage_is_found_in_the_store_and_repaired_in_the_cache(bucket: str, cache: Path) -> None:
    uri = f"{bucket}/damaged"
    commit(uri)
    held = opened(uri, "thing")
    (held.path / "weights.bin").write_bytes(b"bad disk")
    assert opened(uri, "thing").path == held.path
    assert (held.path / "weights.bin").read_bytes() == FILES["weights.bin"]
    part = join_uri(uri, held.manifest["prefix"], "weights.bin")
    write_file(part, FILES["weights.bin"][:-1] + b"!")
    with pytest.raises(ArtefactError, match=r"damaged/weights.bin differs"):
        opened(uri, "thing", cache=cache / "other")
    remove(part)
    with pytest.raises(ArtefactError, match="lacks weights.bin"):
        opened(uri, "thing", cache=cache / "other")
    assert list((cache / "other").iterdir()) == []


def test_reader_of_a_replaced_artefact_gets_the_new_one(
    bucket: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"{bucket}/moving"
    commit(uri, fingerprint="f1")
    download = artefact._download

    def late(*told: object) -> None:
        monkeypatch.setattr(artefact, "_download", download)
        commit(uri, fingerprint="f2")
        download(*told)  # type: ignore[arg-type]

    monkeypatch.setattr(artefact, "_download", late)
    assert opened(uri, "thing").fingerprint == "f2"


def test_versions_without_renames_or_locks(bucket: str, cache: Path) -> None:
    versions, made = Versions(f"{bucket}/versions"), f"{bucket}/index"
    for content in (b"one", b"two", b"three"):
        with committing(made, "index", fingerprint=fingerprint_of(str(content)), meta={}) as folder:
            (folder / "x").write_bytes(content)
        name = versions.publish(opened(made, "index"), keep=2)
        held, index = versions.open()
        assert (held, (index.path / "x").read_bytes()) == (name, content)
    assert len(versions.names()) == 2
    assert versions.rollback() == versions.names()[0]
    assert (versions.open()[1].path / "x").read_bytes() == b"two"


def test_small_files(bucket: str, server: str) -> None:
    place = join_uri(bucket, "run", "summary.json")
    assert read_file(place, missing=b"none") == b"none"
    write_file(place, json.dumps({"a": 1}).encode())
    assert json.loads(read_file(place)) == {"a": 1}
    query = f"?endpoint_override={server.removeprefix('http://')}&scheme=http&region=us-east-1"
    assert read_file(place + query) == read_file(place)
    assert isinstance(filesystem(place)[0], pafs.S3FileSystem)
    with pytest.raises(FileNotFoundError):
        read_file(join_uri(bucket, "nowhere"))


def test_processes_fill_one_cache_at_the_same_time(bucket: str, cache: Path) -> None:
    uri = f"{bucket}/shared"
    commit(uri)
    code = "import sys; from recsys.artefact import opened; print(opened(sys.argv[1], 'thing').path)"
    command = [sys.executable, "-c", code, uri]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {reader.communicate()[0].strip() for reader in readers}
    assert [str(path) for path in cache.iterdir()] == list(paths)


@ray.remote(num_cpus=0.5)
class Worker:
    """A machine of its own: its folders aren't shared."""

    def __init__(self, folder: str, env: dict[str, str]) -> None:
        self.folder = Path(folder)
        os.environ.update(env | {"RECSYS_CACHE": str(self.folder / "cache"), "TMPDIR": str(self.folder)})

    def commit(self, uri: str) -> str:
        self.folder.mkdir(parents=True)
        with committing(uri, "thing", fingerprint="ray", meta={}) as staging:
            (staging / "x").write_bytes(b"from a worker")
            return str(staging)

    def open(self, uri: str) -> tuple[str, bytes]:
        held = opened(uri, "thing")
        return str(held.path), (held.path / "x").read_bytes()


@pytest.mark.ray
def test_ray_workers_exchange_an_artefact_without_a_shared_disk(bucket: str, server: str, tmp_path: Path) -> None:
    uri = f"{bucket}/exchanged"
    with connected(ClusterSpec(workers=2)):
        one, other = (Worker.remote(str(tmp_path / name), environment(server)) for name in ("one", "other"))
        written = ray.get(one.commit.remote(uri))
        path, content = ray.get(other.open.remote(uri))
    assert content == b"from a worker"
    assert written.startswith(str(tmp_path / "one"))
    assert path.startswith(str(tmp_path / "other"))
