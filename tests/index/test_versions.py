"""Whoever asks for the current version gets a whole one, whatever publishers and their machines do."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.artefact import Artefact, ArtefactError, committing, fingerprint_of, opened
from recsys.index.versions import POINTER, Versions


def made(folder: Path, content: str) -> Artefact:
    with committing(folder / content, "index", fingerprint=fingerprint_of(content), meta={"is": content}) as at:
        (at / "sub").mkdir()
        (at / "sub" / "x").write_text(content)
    return opened(folder / content, "index")


def content(versions: Versions) -> str:
    _, artefact = versions.open()
    assert (artefact.path / "sub" / "x").read_text() == artefact.meta["is"]
    return artefact.meta["is"]


def test_publish_keeps_the_last_and_rolls_back_past_what_was_rolled_back(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path / "root"))
    assert versions.current() is None
    with pytest.raises(ArtefactError, match="no published index: run jobs.publish versions="):
        versions.open()
    first = versions.publish(made(tmp_path, "a"), keep=3)
    with pytest.raises(ValueError, match="keeps no version before"):
        versions.rollback()
    second, third = versions.publish(made(tmp_path, "b"), keep=3), versions.publish(made(tmp_path, "c"), keep=3)
    assert set(versions.names()) == {first, second, third}
    assert versions.rollback() == second == versions.current()
    assert content(versions) == "b"
    fourth = versions.publish(made(tmp_path, "d"), keep=3)
    assert set(versions.names()) == {first, second, fourth}  # what was rolled back isn't kept for a rollback
    fifth = versions.publish(made(tmp_path, "e"), keep=2)
    assert set(versions.names()) == {fourth, fifth}
    assert (versions.rollback(), content(versions)) == (fourth, "d")
    assert versions.publish(made(tmp_path, "f"), keep=1) == versions.current()
    assert versions.names() == [versions.current()]


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.one_of(st.integers(1, 4), st.just(0)), max_size=10))
def test_any_sequence_is_that_of_a_stack(tmp_path_factory: pytest.TempPathFactory, steps: list[int]) -> None:
    tmp_path = tmp_path_factory.mktemp("stack")
    versions, stack, names = Versions(str(tmp_path / "root")), [], {}
    for number, keep in enumerate(steps):
        if keep:
            stack = [*stack, f"v{number}"][-keep:]
            names[stack[-1]] = versions.publish(made(tmp_path, stack[-1]), keep=keep)
            assert set(versions.names()) == {names[held] for held in stack}
        elif len(stack) > 1:
            stack.pop()
            assert versions.rollback() == names[stack[-1]]
        else:
            with pytest.raises((ValueError, ArtefactError)):
                versions.rollback()
        if stack:
            assert content(versions) == stack[-1]
            assert {names[held] for held in stack} <= set(versions.names())


def test_concurrent_publishers_and_readers(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path / "root"))
    artefacts = [made(tmp_path, f"p{number}") for number in range(3)]
    versions.publish(artefacts[0], keep=2)
    failed: list[BaseException] = []
    done = threading.Event()

    def publisher(number: int) -> None:
        try:
            for _ in range(6):
                versions.publish(artefacts[number], keep=2)
        except BaseException as error:
            failed.append(error)

    def reader() -> None:
        try:
            while not done.is_set():
                name, artefact = versions.open()
                try:
                    assert (artefact.path / "sub" / "x").read_text() == artefact.meta["is"]
                except FileNotFoundError:  # others came meanwhile, and it went
                    pointer = versions.pointer()
                    assert pointer is not None
                    assert name not in (pointer.version, *pointer.before)
        except BaseException as error:
            failed.append(error)

    reading = [threading.Thread(target=reader) for _ in range(2)]
    writing = [threading.Thread(target=publisher, args=(number,)) for number in range(3)]
    for thread in [*reading, *writing]:
        thread.start()
    for thread in writing:
        thread.join()
    done.set()
    for thread in reading:
        thread.join()
    assert failed == []
    assert len(versions.names()) == 2
    assert versions.current() in versions.names()


KILLED = """
import os, signal, sys
from recsys import storage
from recsys.artefact import opened
from recsys.index import versions
left = int(sys.argv[3])
def counted(do):
    def call(*args, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return do(*args, **named)
    return call
versions.shutil.copyfile, versions.write_file, versions.remove = map(
    counted, (versions.shutil.copyfile, versions.write_file, versions.remove))
versions.Versions(sys.argv[1]).publish(opened(sys.argv[2], "index"), keep=1)
"""


@pytest.mark.parametrize("steps", range(3))
def test_a_publisher_that_is_killed_leaves_a_whole_current_version(tmp_path: Path, steps: int) -> None:
    versions = Versions(str(tmp_path / "root"))
    versions.publish(made(tmp_path, "old"), keep=1)
    new = made(tmp_path, "new")
    command = [sys.executable, "-c", KILLED, versions.root, str(new.path), str(steps)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert content(versions) == ("old" if steps < 2 else "new")  # copy, point, delete
    versions.publish(new, keep=1)
    assert content(versions) == "new"
    assert {path.name for path in Path(versions.root).iterdir()} == {versions.current(), POINTER, ".lock"}


def test_an_index_that_changes_while_it_is_copied_is_not_published(tmp_path: Path) -> None:
    versions, held = Versions(str(tmp_path / "root")), made(tmp_path, "a")
    name = versions.publish(held)
    (held.path / "sub" / "x").write_text("b")
    with pytest.raises(ArtefactError, match="changed while it was published"):
        versions.publish(held)
    assert versions.names() == [name] == [versions.current()]


def test_what_isnt_whole_isnt_a_version(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path / "root"))
    name = versions.publish(made(tmp_path, "a"))
    half = tmp_path / "root" / ("3" + name[1:])
    half.mkdir()
    (half / "x").write_text("half")
    (tmp_path / "root" / "notes").mkdir()
    assert versions.names() == [name]
    assert content(versions) == "a"
    target = tmp_path / "root" / name / "sub" / "x"
    target.write_text("b")
    with pytest.raises(ArtefactError, match="sub/x differs from its checksum"):
        versions.open()


@pytest.mark.parametrize("text", ["{", "{}", '{"version": "../x", "before": []}', "[]", '{"version": 1}'])
def test_a_damaged_pointer_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / POINTER).write_text(text)
    with pytest.raises(ArtefactError, match=f"{POINTER} is damaged"):
        Versions(str(tmp_path)).current()


def test_the_pointer_is_plain(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path / "root"))
    name = versions.publish(made(tmp_path, "a"))
    assert json.loads((tmp_path / "root" / POINTER).read_text()) == {"version": name, "before": []}
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        versions.publish(made(tmp_path, "a"), keep=0)
    with committing(tmp_path / "odd", "index", fingerprint="../odd", meta={}) as folder:
        (folder / "x").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"fingerprint '\.\./odd': only letters"):
        versions.publish(opened(tmp_path / "odd", "index"))
    assert versions.current() == name
