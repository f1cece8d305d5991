"""An index is published by hand, and the last one comes back by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.publish import PublishSettings, main
from recsys.artefact import ArtefactError
from recsys.index.versions import Versions
from tests.index.test_envelope import built
from tests.jobs.command import run


def test_publish_and_roll_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(tmp_path / "run")
    settings = PublishSettings(
        run_dir=str(tmp_path / "run"), versions=str(tmp_path / "versions"), keep=2, rollback=False
    )
    main(settings)
    main(settings)
    versions = Versions(str(tmp_path / "versions"))
    first, second = versions.names()
    assert f"is at {second}\npublish: kept are {first}, {second}" in capsys.readouterr().out
    main(replace(settings, rollback=True))
    assert f"is back at {first}" in capsys.readouterr().out
    assert versions.current() == first
    with pytest.raises(ValueError, match="keeps no version before"):
        main(replace(settings, rollback=True))
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        replace(settings, keep=0)
    with pytest.raises(ArtefactError, match="no finished index"):
        main(replace(settings, run_dir=str(tmp_path)))


def test_a_mistake_is_told_in_one_line() -> None:
    assert "error: give versions=" in run("publish", status=2)
