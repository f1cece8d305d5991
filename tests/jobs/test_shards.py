"""A run's index is split once for each number of shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from jobs.settings import CONFIGS
from jobs.shards import ShardsSettings, main, shards_settings, split
from tests.index.test_envelope import built


def composed(*overrides: str) -> ShardsSettings:
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return shards_settings(compose("shards", overrides=list(overrides)))


def test_what_is_split_isnt_split_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(tmp_path)
    settings = composed(f"run_dir={tmp_path}", "shards=2", "answer=false")
    main(settings)
    assert "1500 items in 2 shards" in capsys.readouterr().out
    first = (tmp_path / "shards" / "manifest.json").read_bytes()
    split(settings)
    assert (tmp_path / "shards" / "manifest.json").read_bytes() == first
    assert split(replace(settings, shards=3))[1].meta["shards"] == 3


def test_mistakes_are_told() -> None:
    for wrong in ("shards=0", "port=70000", "num_cpus=0", "threads=0"):
        with pytest.raises(ValueError, match=wrong.split("=")[0]):
            composed(wrong)
