"""A build that is killed anywhere goes on where it was, and ends with the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.artefact import opened
from recsys.cluster.start import ClusterSpec
from recsys.cluster.tasks import run_tasks
from recsys.fingerprint import file_sha256
from recsys.index.encoding import truth_of
from recsys.index.large import LargeBuild, LargeSpec
from recsys.index.pilot import CODES, enough, forecast
from recsys.index.running_top import RunningTop
from recsys.index.shards import Shard, ShardLog
from recsys.index.source import MatrixSource, opened_source
from recsys.index.synthetic import KINDS, SyntheticVectors, World
from recsys.index.tree import Tree
from recsys.index.vectors_folder import Asked, Run, generated, in_turn, room_for

N, DIM = 5000, 16
SPEC = LargeSpec(metric="cosine", lists=32, parts=DIM, tail="copy", shard_items=900)
SYNCS = 8 * 6  # of a whole build: six files, their folder, and the folder of shards, for each of six shards

KILLED = """
import os, signal, sys
from pathlib import Path
import recsys.index.shards as shards
from tests.index.test_large import build_in
left, sync = int(sys.argv[2]), shards.sync

def deadly(path):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(path)

shards.sync = deadly
build_in(Path(sys.argv[1]))
"""


def vectors_in(folder: Path) -> MatrixSource:
    path = folder / "vectors.npy"
    if not path.exists():
        np.save(path, World(SyntheticVectors(n=N, dim=DIM, seed=3)).chunk(0))
    return MatrixSource(path, "cosine", made_from="these")


def build_in(folder: Path, run: Run = in_turn) -> dict[str, str]:
    """Build, and return the checksums of the engine's files."""
    source, queries = vectors_in(folder), World(SyntheticVectors(n=N, dim=DIM, seed=3)).queries("ood", "dev", 20)
    build = LargeBuild(source, SPEC, queries, folder / "work")
    build.encode(run)
    target = folder / "index"
    target.mkdir(exist_ok=True)
    build.join(target, run)
    return {path.name: file_sha256(path) for path in sorted(target.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return build_in(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("at", [1, 13, 24, SYNCS])
def test_killed_anywhere_it_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, whole: dict[str, str], at: int
) -> None:
    vectors_in(tmp_path)
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(at)], check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    done: list[Shard] = []
    assert build_in(tmp_path, counted(done)) == whole
    assert len(done) == 6 - (at - 1) // 8  # what had a line isn't done again, and what was being written is done once


def counted(done: list[Shard]) -> Run:
    def run(work: Callable[[Any], Any], items: Sequence[Any]) -> Any:
        done.extend(item for item in items if isinstance(item, Shard))
        return in_turn(work, items)

    return run


@pytest.mark.ray
def test_ray_writes_the_bytes_of_a_plain_loop(tmp_path: Path, whole: dict[str, str]) -> None:
    assert build_in(tmp_path, partial(run_tasks, spec=ClusterSpec(workers=2))) == whole


@pytest.mark.parametrize("what", ["line", "file", "settings"])
def test_a_shard_is_done_again_when_its_line_its_bytes_or_the_settings_are_others(
    tmp_path: Path, whole: dict[str, str], what: str
) -> None:
    build_in(tmp_path)
    work = tmp_path / "work"
    if what == "line":
        log = work / "shards.jsonl"
        log.write_bytes(log.read_bytes()[:-20])
    elif what == "file":
        path = work / "shard-00003" / "rows.npy"
        held = bytearray(path.read_bytes())
        held[-7] ^= 1
        path.write_bytes(held)
    else:
        (work / "made_from").write_text("other settings")
    done: list[Shard] = []
    assert build_in(tmp_path, counted(done)) == whole
    assert len(done) == {"line": 1, "file": 1, "settings": 6}[what]


def test_exact_answers_are_found_in_passing(tmp_path: Path) -> None:
    build_in(tmp_path)
    source = vectors_in(tmp_path)
    queries = World(SyntheticVectors(n=N, dim=DIM, seed=3)).queries("ood", "dev", 20)
    top = RunningTop(queries, 100, "cosine")
    top.add(source.read(0, N)[1], 0)
    build = LargeBuild(source, SPEC, queries, tmp_path / "work")
    np.testing.assert_array_equal(truth_of(build.work, build.shards, 100).ids, top.hits().ids)


def test_a_failed_shard_fails_the_build_with_its_reason(tmp_path: Path) -> None:
    rows = World(SyntheticVectors(n=N, dim=DIM, seed=3)).chunk(0)
    rows[3333] = np.nan
    np.save(tmp_path / "vectors.npy", rows)
    with pytest.raises(ValueError, match="row 3333 has norm nan"):
        build_in(tmp_path)


def test_a_disk_too_small_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vectors take 1000000\.0 GB and .* GB free: free some"):
        room_for(tmp_path / "more" / "out", 10**15, "vectors")


def test_a_scale_test_has_queries_of_both_kinds_with_their_exact_answers(tmp_path: Path) -> None:
    spec = SyntheticVectors(n=2500, dim=8, seed=1)
    made = generated(spec, {"dev": 5, "test": 7}, tmp_path / "v")
    source = opened_source(tmp_path / "v", "cosine")
    rows = source.read(0, 2500)[1]
    for kind in KINDS:
        asked = Asked.load(tmp_path / "v", kind, "test")
        assert asked.queries.shape == (7, 8)
        best = np.argsort(-(asked.queries @ rows.T), axis=1)[:, :100]
        assert np.mean([np.isin(one, other).mean() for one, other in zip(best, asked.truth, strict=True)]) > 0.999
    assert made.meta["items"] == len(source) == 2500
    assert opened(tmp_path / "v", "vectors").fingerprint == source.fingerprint
    with pytest.raises(ValueError, match="holds vectors already"):
        generated(spec, {"dev": 5, "test": 7}, tmp_path / "v")


def test_lines_of_the_log_survive_a_new_start(tmp_path: Path) -> None:
    log = ShardLog(tmp_path / "w", "a")
    log.finish({"shard": 0, "start": 0, "stop": 5, "files": {}})
    assert [shard.number for shard in ShardLog(tmp_path / "w", "a").missing([Shard(0, 0, 5), Shard(1, 5, 9)])] == [1]
    assert not ShardLog(tmp_path / "w", "b").lines


def test_what_lists_hold_is_foretold_from_a_sample(tmp_path: Path) -> None:
    build_in(tmp_path)
    source = vectors_in(tmp_path)
    tree = Tree.load(tmp_path / "work")
    queries = World(SyntheticVectors(n=N, dim=DIM, seed=3)).queries("ood", "test", 200)
    rows = source.read(0, N)[1]
    whole = forecast(tree, rows, source, queries, [2, 4, 8, 32])
    sample = forecast(tree, rows[::2], source, queries, [2, 4, 8, 32])
    assert [one.recall for one in whole] == sorted(one.recall for one in whole)
    assert whole[-1].recall == 1 - CODES
    for one, other in zip(whole, sample, strict=True):
        assert abs(one.recall - other.recall) < 0.03
    assert enough(whole, 0.99) == whole[-1]
    assert enough(whole, whole[1].recall) == whole[1]
