"""A user's mistake is one line that names the value and what to do, and exit status 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.command import run
from tests.jobs.conftest import own_tables

JOBS = ("data", "train", "embed", "index", "evaluate", "serve", "pipeline")


@pytest.mark.parametrize(
    ("job", "overrides", "told"),
    [
        ("data", ("data=parquet", "data.events=nowhere.parquet"), "nowhere.parquet"),
        ("train", ("train.batch_size=0",), "train.batch_size must be positive, got 0"),
        ("index", ("index.kind=tree",), "tree"),
        ("serve", (), "no finished"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, job: str, overrides: tuple[str, ...], told: str) -> None:
    held = run(job, *overrides, f"run_dir={tmp_path / 'run'}", status=2)
    assert told in held
    assert "Traceback" not in held


def test_a_missing_column_is_named_with_what_there_is(invoices: Path, tmp_path: Path) -> None:
    wrong = ("data.columns={user: Customer, item: StockCode, time: InvoiceDate}",)
    held = run("data", *own_tables(invoices, tmp_path / "run")[:2], *wrong, f"run_dir={tmp_path / 'run'}", status=2)
    assert "Customer" in held
    assert "CustomerID" in held, "the columns that are there"


@pytest.mark.parametrize("job", JOBS)
def test_help_shows_groups_and_the_whole_configuration(job: str) -> None:
    held = run(job, "--help")
    for group in ("data", "model", "train", "cluster", "index", "serve", "tracking", "scale", "debug"):
        assert group in held
    assert "run_dir: " in held
