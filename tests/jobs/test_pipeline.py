"""From a retailer's invoices to a served recommendation by one command, as README tells it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx
import pytest

from problems import catalogue
from recsys.report.summary import validate
from recsys.tracking.log import read_metrics
from tests.jobs.command import ROOT, SMALL, arguments, environment, run
from tests.jobs.conftest import own_tables
from tests.serve.test_ray import free_port

pytestmark = pytest.mark.e2e
STAGES = ("dataset", "checkpoint", "item_vectors", "index", "evaluation", "load")


@pytest.fixture(scope="module")
def finished(invoices: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("mine") / "run"
    told = run("pipeline", *own_tables(invoices, folder), *SMALL, "cluster=local", f"port={free_port()}")
    return folder, told


def manifests(folder: Path) -> dict[str, bytes]:
    return {stage: (folder / stage / "manifest.json").read_bytes() for stage in STAGES}


def test_a_run_leaves_summary_report_and_metrics(finished: tuple[Path, str]) -> None:
    folder, told = finished
    summary = json.loads((folder / "summary.json").read_text())
    validate(summary)
    assert summary["data"]["users"] == 100
    assert summary["serve"]["requests"] > 0
    assert summary["serve"]["errors"] == 0
    assert summary["index"]["recall@100_vs_exact"] == 1.0
    assert all(summary["recall@20"][system] is not None for system in summary["recall@20"])
    page = (folder / "report.html").read_text()
    assert page.count("<svg") >= 4
    assert "no user" in page, "what was set aside is in the report"
    assert "no user" in told
    metrics = read_metrics(str(folder / "metrics.jsonl"))
    assert metrics["train"]["step"][-1] == 12
    assert {"norm.retrieval", "norm.engage", "cosine.retrieval.engage"} <= metrics["gradient"].keys()


def test_every_job_has_an_offline_run_in_the_group(finished: tuple[Path, str]) -> None:
    jobs = {held.name.split("-")[-2] for held in (finished[0] / "wandb").glob("offline-run-*")}
    assert jobs == {"dataset", "train", "item_vectors", "index", "evaluation", "load", "report"}


def test_a_second_run_does_nothing_again(finished: tuple[Path, str], invoices: Path) -> None:
    folder, _ = finished
    before = manifests(folder)
    told = run("pipeline", *own_tables(invoices, folder), *SMALL, "cluster=local")
    assert manifests(folder) == before
    assert told.count("is there already") == len(STAGES)


def test_other_settings_do_again_what_depends_on_them(finished: tuple[Path, str], invoices: Path) -> None:
    folder, _ = finished
    before = manifests(folder)
    run("index", *own_tables(invoices, folder), *SMALL, "cluster=local0", "index=ivf", "index.lists=4")
    after = manifests(folder)
    assert [stage for stage in STAGES if before[stage] != after[stage]] == ["index"]


def test_the_doctor_asks_every_detector_about_a_run(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    told = run("doctor", f"run_dir={folder}", "queries=40")
    held = json.loads((folder / "doctor" / "doctor.json").read_text())
    states = {finding["detector"].split()[0]: finding["state"] for finding in held["findings"]}
    assert set(states) == {id for id, entry in catalogue().items() if entry.measured}
    assert states["p17"] != "no evidence"
    assert states["p21"] in ("named", "healthy", "abstains")
    assert "not there: " in held["evidence"]["TaskCurves"], "trained without train.evidence=true"
    assert "train.evidence=true" in held["evidence"]["TaskCurves"]
    page = (folder / "doctor" / "doctor.html").read_text()
    assert all(finding["title"] in unescape(page) for finding in held["findings"] if finding["diagnosis"])
    again = run("doctor", "run_dir=null", f"evidence={folder / 'doctor' / 'evidence'}", f"out={folder / 'again'}")
    same = json.loads((folder / "again" / "doctor.json").read_text())
    assert [f["state"] for f in same["findings"]] == [f["state"] for f in held["findings"]], told + again


def test_a_doctor_without_anything_to_look_at_says_what_to_give(tmp_path: Path) -> None:
    told = run("doctor", "run_dir=null", status=2)
    assert "run_dir=" in told
    assert "evidence=" in told
    told = run("doctor", f"run_dir={tmp_path / 'nowhere'}", "queries=10")
    assert "not there" in told or "no evidence" in told


@pytest.fixture
def served(finished: tuple[Path, str]) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        arguments("serve", f"run_dir={finished[0]}", f"port={port}"),
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving"), line + process.stdout.read()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_run_is_served(served: str) -> None:
    """jobs.serve needs nothing but the run's folder, and ends when it is told to."""
    with httpx.Client(base_url=served, trust_env=False, timeout=30) as client:
        answer = client.post("/v1/recommend", json={"user_id": "17050", "k": 5, "weights": {"engage": 1.0}}).json()
        assert len(answer["items"]) == 5
        assert answer["source"] == "personal"
        assert {"versions", "timings_ms", "degraded"} <= answer.keys()
        excluded = [item["item_id"] for item in answer["items"]]
        other = client.post("/v1/recommend", json={"user_id": "17050", "k": 5, "exclude": excluded}).json()
        assert not {item["item_id"] for item in other["items"]} & set(excluded)
        nobody = client.post("/v1/recommend", json={"user_id": "nobody", "k": 5}).json()
        assert (nobody["source"], len(nobody["items"])) == ("popular", 5)
        assert client.get("/healthz").status_code == 200
        assert "recsys_requests_total" in client.get("/metrics").text


def test_a_pipeline_that_was_killed_goes_on(invoices: Path, tmp_path: Path) -> None:
    """kill -9 of the whole process in the middle of training; the next run ends with the weights of an unbroken one."""
    knobs = (*SMALL, "cluster=local0", "train.checkpoint_every=3", "load=false")
    process = subprocess.Popen(
        arguments("train", *own_tables(invoices, tmp_path / "broken"), *knobs, "train.max_steps=400"),
        cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = tmp_path / "broken" / "training" / "checkpoints"
    while process.poll() is None and not len(list(folder.glob("step-*/manifest.json"))) >= 2:
        os.sched_yield()
    assert process.poll() is None, "it ended by itself"
    process.kill()
    process.wait()
    told = run("pipeline", *own_tables(invoices, tmp_path / "broken"), *knobs, "train.max_steps=400")
    assert "dataset: is there already" in told
    run("train", *own_tables(invoices, tmp_path / "whole"), *knobs, "train.max_steps=400")
    weights = [
        (tmp_path / run_dir / "checkpoint" / "model.safetensors").read_bytes() for run_dir in ("broken", "whole")
    ]
    assert weights[0] == weights[1]
