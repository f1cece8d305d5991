"""An artefact is whole or it isn't there, whatever happens to its writer and its bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys.artefact import (
    ArtefactError,
    committing,
    fingerprint_of,
    join_uri,
    opened,
    peek,
    read_file,
    remove,
    sealed,
    write_file,
)
from recsys.storage import list_names

FILES = {
    "weights.bin": bytes(range(256)) * 9,
    "parts/part-0.bin": b"first",
    "parts/part-1.bin": b"second",
    "empty": b"",
}


def commit(target: str | Path, files: dict[str, bytes] = FILES, fingerprint: str = "f1") -> None:
    with committing(target, "thing", fingerprint=fingerprint, meta={"made": fingerprint}) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


def change(target: Path, edit: Callable[[dict], object]) -> None:
    held = json.loads((target / "manifest.json").read_text())
    edit(held)
    (target / "manifest.json").write_bytes(sealed(held))


def test_what_is_committed_is_opened(tmp_path: Path) -> None:
    meta: dict[str, object] = {"given": 1}
    with committing(tmp_path / "a", "thing", fingerprint="f1", meta=meta) as folder:
        (folder / "x").write_bytes(b"content")
        meta["found"] = np.float32(0.5)
    held = opened(tmp_path / "a", "thing")
    assert (held.path / "x").read_bytes() == b"content"
    assert (held.fingerprint, held.meta) == ("f1", {"given": 1, "found": 0.5})
    assert held.manifest["files"]["x"]["bytes"] == 7
    assert peek(f"file://{tmp_path}/a", "thing") == held.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_does_not_exist_is_none_or_an_error_with_a_remedy(tmp_path: Path) -> None:
    assert peek(tmp_path / "a", "thing") is None
    with pytest.raises(ArtefactError, match="no finished thing: run the job"):
        opened(tmp_path / "a", "thing")
    (tmp_path / "file").write_text("a file, not a folder")
    assert peek(tmp_path / "file", "thing") is None


def test_exception_leaves_nothing_new_and_the_old(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), committing(tmp_path / "a", "thing", fingerprint="f", meta={}) as folder:
        (folder / "x").write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    commit(tmp_path / "a")
    with pytest.raises(TypeError, match="no value"):
        commit_unwritable(tmp_path / "a")
    assert opened(tmp_path / "a", "thing").fingerprint == "f1"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def commit_unwritable(target: Path) -> None:
    with committing(target, "thing", fingerprint="f2", meta={"lock": threading.Lock()}) as folder:
        (folder / "x").write_bytes(b"new")


def test_killed_writer_leaves_the_old_one_and_its_litter_is_swept(tmp_path: Path) -> None:
    commit(tmp_path / "a")
    code = (
        "import os, signal, sys\n"
        "from recsys.artefact import committing\n"
        "with committing(sys.argv[1], 'thing', fingerprint='f2', meta={}) as folder:\n"
        "    (folder / 'x').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=False)
    assert done.returncode == -signal.SIGKILL
    assert opened(tmp_path / "a", "thing").fingerprint == "f1"
    assert len(list(tmp_path.glob(".a.partial-*"))) == 1
    assert list_names(tmp_path) == ["a"]
    commit(tmp_path / "a", fingerprint="f3")
    assert opened(tmp_path / "a", "thing").fingerprint == "f3"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_litter_of_a_living_writer_or_of_another_machine_stays(tmp_path: Path) -> None:
    with committing(tmp_path / "a", "thing", fingerprint="slow", meta={}) as slow:
        (slow / "x").write_bytes(b"slow")
        elsewhere = tmp_path / f".a.partial-elsewhere-{2**22 + 1}-00"
        elsewhere.mkdir()
        commit(tmp_path / "a", fingerprint="quick")
        assert opened(tmp_path / "a", "thing").fingerprint == "quick"
        assert elsewhere.is_dir()
    assert opened(tmp_path / "a", "thing").fingerprint == "slow"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("whole") / "a"
    commit(target)
    return target


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([name for name, held in FILES.items() if held]), place=st.integers(0), flip=st.integers(1, 255)
)
def test_flipped_byte_is_found_and_the_file_named(whole: Path, name: str, place: int, flip: int) -> None:
    path, before = whole / name, FILES[name]
    damaged = bytearray(before)
    damaged[place % len(before)] ^= flip
    path.write_bytes(bytes(damaged))
    with pytest.raises(ArtefactError, match=f"{name} differs from its checksum: make the artefact again"):
        opened(whole, "thing")
    assert opened(whole, "thing", verify=False).fingerprint == "f1"
    path.write_bytes(before)
    opened(whole, "thing")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0))
def test_cut_manifest_is_damaged(whole: Path, length: int) -> None:
    path = whole / "manifest.json"
    before = path.read_bytes()
    path.write_bytes(before[: length % len(before)])
    with pytest.raises(ArtefactError, match="damaged|no finished"):
        opened(whole, "thing")
    assert peek(whole, "thing") is None
    path.write_bytes(before)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0), flip=st.integers(1, 255))
def test_flipped_byte_of_the_manifest_is_found(whole: Path, place: int, flip: int) -> None:
    path = whole / "manifest.json"
    before = path.read_bytes()
    damaged = bytearray(before)
    damaged[place % len(before)] ^= flip
    path.write_bytes(bytes(damaged))
    try:
        with pytest.raises(ArtefactError, match=r"manifest\.json is damaged"):
            opened(whole, "thing")
        assert peek(whole, "thing") is None
    finally:
        path.write_bytes(before)
    opened(whole, "thing")


def test_a_manifest_from_before_there_were_seals_is_read(tmp_path: Path) -> None:
    commit(tmp_path / "a")
    held = json.loads((tmp_path / "a" / "manifest.json").read_text())
    del held["seal"]
    (tmp_path / "a" / "manifest.json").write_text(json.dumps(held))
    assert opened(tmp_path / "a", "thing").manifest == peek(tmp_path / "a", "thing") == held


def test_zeros_in_a_manifest_are_no_seal(tmp_path: Path) -> None:
    with committing(tmp_path / "a", "thing", fingerprint="f", meta={"zeros": "0" * 64}) as folder:
        (folder / "x").write_bytes(b"x")
    assert opened(tmp_path / "a", "thing").meta == {"zeros": "0" * 64}


def test_truncated_and_missing_files_are_named(tmp_path: Path) -> None:
    commit(tmp_path / "a")
    (tmp_path / "a" / "weights.bin").write_bytes(FILES["weights.bin"][:-1])
    with pytest.raises(ArtefactError, match="a/weights.bin differs"):
        opened(tmp_path / "a", "thing")
    (tmp_path / "a" / "weights.bin").unlink()
    with pytest.raises(ArtefactError, match="a/weights.bin is missing"):
        opened(tmp_path / "a", "thing")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda held: held.update(version=2), "update the code"),
        (lambda held: held.update(version=0), "make the artefact again"),
        (lambda held: held.update(kind="other"), "of kind 'other', not 'thing'"),
        (lambda held: held["files"].update({"../x": {"bytes": 0, "sha256": ""}}), "can't be trusted"),
        (lambda held: held["files"].update({"/etc/x": {"bytes": 0, "sha256": ""}}), "can't be trusted"),
        (lambda held: held["files"].update({"y": {"bytes": 0}}), "can't be trusted"),
        (lambda held: held.update(prefix="../other"), "can't be trusted"),
        (lambda held: held.update(files=["x"]), "damaged"),
        (lambda held: held.pop("meta"), "damaged"),
        (lambda held: held.pop("fingerprint"), "damaged"),
    ],
)
def test_manifest_of_another_kind_or_version_or_that_points_elsewhere(
    tmp_path: Path, edit: Callable[[dict], object], message: str
) -> None:
    commit(tmp_path / "a")
    change(tmp_path / "a", edit)
    with pytest.raises(ArtefactError, match=message):
        opened(tmp_path / "a", "thing")


def test_foreign_folders_and_files_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").write_text("dear diary")
    for target in (tmp_path / "home", tmp_path / "home" / "diary.txt"):
        with pytest.raises(ArtefactError, match="won't be overwritten"):
            commit(target)
    assert (tmp_path / "home" / "diary.txt").read_text() == "dear diary"
    (tmp_path / "empty").mkdir()
    commit(tmp_path / "empty")
    with pytest.raises(ArtefactError, match="another name"):
        commit(tmp_path / "b", {"manifest.json": b"{}"})


def test_two_writers_leave_one_of_their_artefacts_whole(tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def write(who: int) -> None:
        try:
            for turn in range(12):
                commit(tmp_path / "a", {"x": f"{who} {turn}".encode() * 50}, fingerprint=f"{who}-{turn}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    held = opened(tmp_path / "a", "thing")
    assert (held.path / "x").read_bytes() == held.fingerprint.replace("-", " ").encode() * 50
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@dataclass(frozen=True)
class Uniform:
    num: int


@dataclass(frozen=True)
class Popular:
    num: int


@dataclass(frozen=True)
class Recipe:
    source: Uniform | Popular
    rate: float = 0.1


def test_fingerprints_are_equal_for_equal_values_in_every_process() -> None:
    parts = ["kind", 1, {"b": [1, 2], "a": None}, Path("x/y"), np.int64(3), {"s", "t"}]
    code = "import sys; from tests.code.test_artefact import same; sys.stdout.write(same())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert fingerprint_of(*parts) == other.stdout == same()
    assert len(other.stdout) == 16


def same() -> str:
    return fingerprint_of("kind", 1, {"a": None, "b": (1, 2)}, Path("x/y"), np.int64(3), frozenset({"t", "s"}))


def test_fingerprints_tell_apart_what_has_the_same_fields() -> None:
    told = [Recipe(Uniform(5)), Recipe(Popular(5)), Recipe(Uniform(6)), Recipe(Uniform(5), 0.2), Uniform, Popular]
    assert len({fingerprint_of(part) for part in told}) == len(told)
    with pytest.raises(TypeError, match="no value that another process"):
        fingerprint_of({"made_by": object()})


def test_small_files_and_removal(tmp_path: Path) -> None:
    place = join_uri(tmp_path, "reports", "summary.json")
    assert read_file(place, missing=b"none") == b"none"
    with pytest.raises(FileNotFoundError):
        read_file(place)
    write_file(place, b"one")
    write_file(place, b"two")
    assert read_file(place) == b"two"
    assert list_names(tmp_path / "reports") == ["summary.json"]
    remove(place)
    commit(tmp_path / "reports" / "a")
    remove(tmp_path / "reports" / "a")
    remove(tmp_path / "reports" / "a")
    assert list((tmp_path / "reports").iterdir()) == []
    assert list_names(tmp_path / "nowhere") == []


def test_uris_are_joined_before_their_query() -> None:
    assert join_uri("s3://bucket/run/?region=x&y=z", "index", "a.bin") == "s3://bucket/run/index/a.bin?region=x&y=z"
    assert join_uri("/tmp/what?/run", "index") == "/tmp/what?/run/index"
    assert join_uri(Path("/tmp/run"), "a") == "/tmp/run/a"
