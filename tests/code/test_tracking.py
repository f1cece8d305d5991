"""The metrics file survives crashes, retries and crowds; a W&B run has one identity an attempt and needs no network."""

from __future__ import annotations

import copy
import json
import math
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.tracking.log import MetricsLog, next_attempt, read_metrics, read_records
from recsys.tracking.run import start_run
from recsys.tracking.sync import offline_runs, sync
from recsys.tracking.wandb import TrackingSpec

NUMBERS = st.dictionaries(
    st.sampled_from(["loss.retrieval", "recall@20", "p99"]), st.floats(allow_nan=True), min_size=1
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def write(path: Path, attempt: int, steps: range, factor: float = 1.0, job: str = "train", kind: str = "train") -> None:
    with MetricsLog(path, "r1", attempt, job=job) as log:
        for step in steps:
            log.log(step, kind, loss=factor * step)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 30), NUMBERS), min_size=1, max_size=12))
def test_numbers_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    with MetricsLog(path, "r1") as log:
        for step, numbers in rows:
            log.log(step, "train", **numbers)
    last = dict(rows)  # the last record of a step counts
    series = read_metrics(path)["train"]
    assert series["step"].tolist() == sorted(last)
    for place, step in enumerate(sorted(last)):
        for name in set(series) - {"step", "time", "attempt"}:
            np.testing.assert_equal(series[name][place], last[step].get(name, math.nan))


def test_every_line_is_strict_json(path: Path) -> None:
    with MetricsLog(path, "r1") as log:
        log.log(1, "train", loss=math.nan, norm=math.inf)
        log.note("table", rows=[[np.float32(1.5), np.int64(2), math.nan, Path("x"), None]])

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} isn't JSON")

    first, second = (json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines())
    assert {"run": "r1", "job": "train", "attempt": 1, "step": 1, "kind": "train"}.items() <= first.items()
    assert second["rows"] == [[1.5, 2, "nan", "x", None]]


def test_a_retry_replaces_what_it_does_anew(path: Path) -> None:
    write(path, 1, range(1, 8))
    write(path, 2, range(5, 7), factor=10.0)
    series = read_metrics(path)["train"]
    assert series["step"].tolist() == [1, 2, 3, 4, 5, 6]  # step 7 was of the attempt that died: it never happened
    assert series["loss"].tolist() == [1, 2, 3, 4, 50, 60]
    assert series["attempt"].tolist() == [1, 1, 1, 1, 2, 2]


def test_jobs_and_runs_do_not_replace_each_other(path: Path) -> None:
    write(path, 1, range(1, 4))
    write(path, 2, range(0, 2), job="evaluate", kind="evaluation")
    with MetricsLog(path, "r2") as log:
        log.log(1, "train", loss=7.0)
    assert read_metrics(path, "r1")["train"]["step"].tolist() == [1, 2, 3]
    assert read_metrics(path)["train"]["loss"].tolist() == [7.0]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_line_costs_only_itself(path: Path, cut: int) -> None:
    write(path, 1, range(1, 4))
    held = path.read_bytes()
    path.write_bytes(held[:-cut])
    write(path, 1, range(4, 6))
    assert read_metrics(path)["train"]["step"].tolist() == [1, 2, *([3] if cut == 1 else []), 4, 5]


def test_a_missing_log_is_an_empty_one(path: Path) -> None:
    assert read_records(path) == []
    assert read_metrics(path) == {}
    assert next_attempt(path, "r1", "train") == 1


def test_a_number_cannot_take_the_name_of_a_field(path: Path) -> None:
    with MetricsLog(path, "r1") as log, pytest.raises(ValueError, match=r"\['attempt', 'step'\]"):
        log.log(1, "train", **{"step": 2.0, "attempt": 1.0, "loss": 0.0})


def test_processes_share_a_file(path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write, args=(path, 1, range(200), 1.0, f"job{n}", f"kind{n}")) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    metrics = read_metrics(path)
    assert sorted(metrics) == ["kind0", "kind1", "kind2", "kind3"]
    assert all(series["loss"].tolist() == list(range(200)) for series in metrics.values())


def test_what_was_logged_outlives_a_killed_process(path: Path) -> None:
    script = (
        "import os, sys; from recsys.tracking.log import MetricsLog\n"
        "log = MetricsLog(sys.argv[1], 'r1')\n"
        "for step in range(50): log.log(step, 'train', loss=1.0)\n"
        "os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == -9
    assert len(read_metrics(path)["train"]["step"]) == 50


def test_an_object_store_gets_a_part_for_every_writer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uri = "mock://bucket/run/metrics.jsonl"
    beneath = lambda given: Path(str(given).replace("mock://", f"{tmp_path}/"))  # noqa: E731
    monkeypatch.setattr("recsys.tracking.log.write_file", lambda given, content: _put(beneath(given), content))
    monkeypatch.setattr("recsys.tracking.log.read_file", lambda given, missing=b"": _get(beneath(given), missing))
    monkeypatch.setattr(
        "recsys.tracking.log.list_names", lambda given: sorted(p.name for p in beneath(given).glob("*"))
    )
    with MetricsLog(uri, "r1", 1) as first, MetricsLog(uri, "r1", 1, job="evaluate") as second:
        for step in range(3):
            first.log(step, "train", loss=1.0)
            second.log(step, "evaluation", recall=0.5)
    assert next_attempt(uri, "r1", "train") == 2
    assert {kind: len(series["step"]) for kind, series in read_metrics(uri).items()} == {"train": 3, "evaluation": 3}


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _get(path: Path, missing: bytes) -> bytes:
    return path.read_bytes() if path.exists() else missing


def test_the_environment_wins_over_the_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = TrackingSpec(mode="offline")
    assert spec.effective_mode() == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert spec.effective_mode() == "disabled"
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ValueError, match="sometimes"):
        spec.effective_mode()
    monkeypatch.delenv("WANDB_MODE")
    assert TrackingSpec(enabled=False, mode="online").effective_mode() == "disabled"
    with pytest.raises(TypeError, match="mode"):
        TrackingSpec(mode="loud")  # type: ignore[arg-type]
    assert copy.deepcopy(spec) == spec  # by __reduce__, as it goes to a worker


def test_a_disabled_run_still_fills_the_metrics_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with start_run(TrackingSpec(enabled=False), job="train", run_id="r1", config={"a": 1}, dir=tmp_path) as run:
        run.log(1, {"loss": 0.5})
        run.summary({"recall@20": 0.3, "p99_ms": None})
        run.table("slices", ["slice", "recall"], [["tail", 0.1]])
        run.image("curve", tmp_path / "curve.png")
        run.reference("s3://bucket/index", "ab12", "index")
    kinds = [record["kind"] for record in read_records(tmp_path / "metrics.jsonl")]
    assert kinds == ["start", "train", "train.summary", "table", "image", "reference", "end"]
    assert sorted(read_metrics(tmp_path / "metrics.jsonl")) == ["train", "train.summary"]
    assert not (tmp_path / "wandb").exists()


OFFLINE = """
import socket, sys, time
from pathlib import Path
def refuse(*_): raise AssertionError("offline means no network")
connect = socket.socket.connect
socket.socket.connect = lambda self, address: connect(self, address) if self.family == socket.AF_UNIX else refuse()
from recsys.tracking.run import start_run
from recsys.tracking.wandb import TrackingSpec
folder, fail = Path(sys.argv[1]), sys.argv[2] == "fail"
with start_run(TrackingSpec(tags=("t",)), job="train", run_id="r1", config={"lr": 0.1}, dir=folder) as run:
    run.log(1, {"loss": 0.5})
    run.log(1, {"norm": 2.0}, kind="gradient")
    run.table("slices", ["slice", "recall"], [["tail", 0.1], ["head", None]])
    run.reference("s3://bucket/index", "ab12", "index")
    run.reference(str(folder / "checkpoint"), "cd34", "checkpoint")
    run.summary({"recall@20": 0.3})
    if fail:
        raise ValueError("killed")
"""


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder after an attempt that failed and one that didn't, each in a process of its own.

    Sockets of the process itself refuse; a proxy that nobody may call watches W&B's own service process.
    """
    folder = tmp_path_factory.mktemp("attempts")
    clean = {name: held for name, held in os.environ.items() if not name.startswith("WANDB")}
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        watched = {"https_proxy": address, "http_proxy": address, "HTTPS_PROXY": address, "HOME": str(folder)}
        for outcome in ("fail", "pass"):
            done = subprocess.run(
                [sys.executable, "-c", OFFLINE, str(folder), outcome],
                env=clean | watched,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert (done.returncode == 0) == (outcome == "pass"), done.stderr
            assert "wandb:" not in done.stdout + done.stderr
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    return folder


def test_every_attempt_is_an_offline_run_of_its_own(attempts: Path) -> None:
    names = sorted(path.name.split("-", 3)[-1] for path in (attempts / "wandb").glob("offline-run-*"))
    assert names == ["r1-train-attempt1", "r1-train-attempt2"]
    for name in names:
        (held,) = (attempts / "wandb").glob(f"offline-run-*/run-{name}.wandb")
        assert b"r1" in held.read_bytes()
        assert b"ab12" in held.read_bytes()


def test_the_metrics_file_holds_both_attempts(attempts: Path) -> None:
    records = read_records(attempts / "metrics.jsonl")
    assert [(r["attempt"], r["failed"]) for r in records if r["kind"] == "end"] == [(1, True), (2, False)]
    assert read_metrics(attempts / "metrics.jsonl")["gradient"]["attempt"].tolist() == [2]
    assert next_attempt(attempts / "metrics.jsonl", "r1", "train") == 3


def test_sync_finds_what_was_not_sent(attempts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = offline_runs(attempts)
    assert [path.name[-8:] for path in found] == ["attempt1", "attempt2"]
    assert sync([attempts], ["--dry-run"]) == 0  # W&B's own command accepts the folders
    (found[0] / "run-r1-train-attempt1.wandb.synced").touch()
    try:
        assert offline_runs(attempts) == found[1:]
    finally:
        (found[0] / "run-r1-train-attempt1.wandb.synced").unlink()
    assert sync([attempts / "elsewhere"], []) == 0
    assert "no unsent" in capfd.readouterr().out
