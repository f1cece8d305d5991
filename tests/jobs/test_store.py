"""A run may lie in an object store: every stage, the workers' checkpoints, and what Ray keeps of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.artefact import opened, read_file
from recsys.report.summary import validate
from recsys.tracking.log import read_metrics
from tests.code.test_s3 import bucket, environment, server  # noqa: F401  (fixtures)
from tests.jobs.command import SMALL, run
from tests.jobs.conftest import own_tables

pytestmark = [pytest.mark.ray, pytest.mark.e2e]


def test_a_pipeline_into_a_bucket(
    invoices: Path,
    bucket: str,  # noqa: F811
    server: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RECSYS_CACHE", str(tmp_path / "cache"))
    where = f"{bucket}/runs/mine"
    knobs = (*own_tables(invoices, where), *SMALL, "cluster=local", "cluster.reader=ray", "load=false")
    store = environment(server) | {"RECSYS_CACHE": str(tmp_path / "cache"), "WANDB_DIR": str(tmp_path)}
    run("pipeline", *knobs, **store)
    validate(json.loads(read_file(f"{where}/summary.json")))
    assert read_metrics(f"{where}/metrics.jsonl")["train"]["step"][-1] == 12
    assert opened(f"{where}/checkpoint", "checkpoint").meta["position"]["step"] == 12
    told = run("pipeline", *knobs, **store | {"RECSYS_CACHE": str(tmp_path / "another machine")})
    assert told.count("is there already") == 5
