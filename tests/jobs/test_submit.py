"""Any job goes to a cluster by `ray job submit`, and a cluster that asks for a token lets nobody in without it."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.embedding import EmbeddingHealth
from recsys.diagnose.files import save_evidence
from recsys.report.summary import validate
from tests.jobs.command import ROOT, SMALL, environment
from tests.jobs.conftest import own_tables
from tests.serve.test_ray import free_port

pytestmark = [pytest.mark.ray, pytest.mark.e2e]
RAY = Path(sys.executable).with_name("ray")
PATIENCE = 120  # seconds for a head to be ready for jobs


class Head:
    """A head node in processes of its own, on loopback, that asks for a token."""

    def __init__(self, folder: str) -> None:
        self.address = f"http://127.0.0.1:{(port := free_port())}"
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        options = {
            "node-ip-address": "127.0.0.1", "port": free_port(), "dashboard-host": "127.0.0.1", "dashboard-port": port,
            "dashboard-agent-listen-port": free_port(), "ray-client-server-port": free_port(), "num-cpus": 2,
            "temp-dir": folder,
        }  # fmt: skip
        words = [f"--{name}={held}" for name, held in options.items()]
        self.log = Path(folder, "head.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [RAY, "start", "--head", "--block", "--disable-usage-stats", *words],
                env=environment(**self.token), stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def submit(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = [RAY, "job", "submit", "--address", self.address, "--working-dir", ".", "--", *command]
        held = {name: value for name, value in environment(**more).items() if name != "RAY_ADDRESS"}
        return subprocess.run(words, cwd=ROOT, env=held, capture_output=True, text=True, check=False)

    def wait(self) -> None:
        """Until the head has an agent that takes jobs."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            told = self.submit(sys.executable, "--version", **self.token)
            if told.returncode == 0:
                return
        raise AssertionError(f"{told.stdout}{told.stderr}{self.log.read_text()}")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # a short path: sockets lie below it
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        held = Head(folder)
        try:
            held.wait()
            yield held
        finally:
            held.stop()


def test_a_stranger_is_not_let_in(head: Head) -> None:
    for token in ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}, {"RAY_AUTH_MODE": "disabled"}):
        told = head.submit(sys.executable, "--version", **token)
        assert told.returncode != 0
        assert "succeeded" not in told.stdout


def test_every_job_runs_on_the_cluster(head: Head, invoices: Path, tmp_path: Path) -> None:
    """The pipeline as README tells it, with Ray Data as the reader; then each job by itself finds its work done."""
    knobs = [*own_tables(invoices, tmp_path / "run"), *SMALL, "cluster=local", "cluster.reader=ray"]
    told = head.submit(sys.executable, "-m", "jobs.pipeline", *knobs, "load=false", **head.token)
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    validate(json.loads((tmp_path / "run" / "summary.json").read_text()))
    alone = f'"$PYTHON" -m jobs.$job {shlex.join(knobs)} || exit 1'
    each = f"PYTHON={sys.executable}; for job in data train embed index evaluate; do {alone}; done"
    told = head.submit("bash", "-c", each, **head.token)
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    assert told.stdout.count("== evaluation: is there already") == 1
    assert told.stdout.count("== dataset: is there already") == 5


# all of them take minutes, so that is left to `make test-slow`
@pytest.mark.parametrize("which", ["p42", pytest.param("all", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_problems_and_the_doctor_run_on_the_cluster(head: Head, tmp_path: Path, which: str) -> None:
    """Every arm of a problem takes two steps as tasks of the cluster; the doctor reads evidence files."""
    knobs = [f"id={which}", "seeds=100", "scale=smoke", "cluster=ray", f"run_dir={tmp_path / 'runs'}"]
    told = head.submit(sys.executable, "-m", "jobs.problem", *knobs, **head.token)
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    ids = [path.name.split("_")[0] for path in (ROOT / "problems").glob("[ps]*_*.py")] if which == "all" else [which]
    assert re.search(f"{', '.join(sorted(ids))}: [0-9]+ units took two steps", told.stdout), told.stdout[-2000:]
    assert "failed" not in told.stdout
    evidence = tmp_path / "evidence"
    save_evidence(Evidence.of(EmbeddingHealth(torch.ones(50, 4) + 1e-3 * torch.randn(50, 4))), evidence)
    doctor = ["-m", "jobs.doctor", "run_dir=null", f"evidence={evidence}", f"out={tmp_path / 'doctor'}"]
    told = head.submit(sys.executable, *doctor, **head.token)
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-2000:]
    found = json.loads((tmp_path / "doctor" / "doctor.json").read_text())["findings"]
    (collapse,) = [held for held in found if held["detector"].startswith("p17")]
    assert collapse["state"] in ("named", "abstains"), collapse
