"""Every option of every group composes and becomes values; mistakes are errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig

from jobs.settings import CONFIGS, Settings, settings_of

GROUPS = sorted(path for path in Path(CONFIGS).iterdir() if path.is_dir())
OPTIONS = [f"{group.name}={file.stem}" for group in GROUPS for file in sorted(group.glob("*.yaml"))]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        return compose("config", overrides=list(overrides))


@pytest.mark.parametrize("option", [o for o in OPTIONS if o != "debug=none"])
def test_every_option_becomes_values(option: str) -> None:
    extra = ["data.events=events.parquet"] if option == "data=parquet" else []
    assert isinstance(settings_of(composed(option, *extra)), Settings)


def test_a_whole_column_map_fits_on_the_command_line() -> None:
    told = "data.columns={user: CustomerID, item: StockCode, time: InvoiceDate}"
    settings = settings_of(composed("data=parquet", "data.events=E.parquet", told))
    assert settings.data.source.columns == {"user": "CustomerID", "item": "StockCode", "time": "InvoiceDate"}


@pytest.mark.parametrize(
    "mistake", ["train.learning_rat=1", "nothing=1", "data.spec.requests.horizon=3", "+train.extra=1"]
)
def test_an_unknown_key_is_an_error(mistake: str) -> None:
    with pytest.raises((ConfigCompositionException, ValueError)):
        settings_of(composed(mistake))


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("train.learning_rate=hot", r"train: .*learning_rate must be float, got 'hot'"),
        ("train.learning_rate=-1", r"train: .*learning_rate must be positive, got -1"),
        ("cluster.workers=two", r"cluster: .*workers must be int, got 'two'"),
        ("model.user.hidden=32", r"model: .*must be equal"),
        ("data.spec.lanes=0", r"data\.spec: .*lanes must be positive, got 0"),
    ],
)
def test_a_wrong_value_names_its_key(mistake: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        settings_of(composed(mistake))


def test_paths_are_seen_from_anywhere() -> None:
    told = ("run_dir=a", "serve.index_versions=b", "serve.recall.out=c")
    settings = settings_of(composed(*told))
    assert settings.run_dir == str(Path("a").resolve())
    assert settings.serve.index_versions == str(Path("b").resolve())
    assert settings.serve.recall.out == str(Path("c").resolve())
    assert settings_of(composed()).serve.index_versions is None
    assert settings_of(composed("serve.index_versions=s3://bucket/b")).serve.index_versions == "s3://bucket/b"


def test_identity_is_that_of_the_run_and_not_of_the_attempt() -> None:
    first, again = settings_of(composed("run_dir=a")), settings_of(composed("run_dir=a", "cluster=local0"))
    assert first.identity == again.identity != settings_of(composed("run_dir=b")).identity
