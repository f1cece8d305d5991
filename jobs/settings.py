"""Configuration is composed once, on the driver, and is a frozen value from there on."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from recsys.artefact import ArtefactError, fingerprint_of
from recsys.cluster.start import ClusterSpec
from recsys.data.leaks import LeakError
from recsys.data.prepare import DataSpec
from recsys.index.vector_index import IndexSpec
from recsys.model import ModelSpec
from recsys.schema import SchemaError
from recsys.tracking.wandb import TrackingSpec
from recsys.train.spec import TrainSpec
from recsys.value import value
from serve.spec import ServeSpec

CONFIGS = str(Path(__file__).resolve().parent.parent / "configs")
MISTAKES = (ArtefactError, LeakError, SchemaError, InstantiationException, ValueError, TypeError, FileNotFoundError)


@value
class Settings:
    """Everything that a job was told, instantiated and checked."""

    data: DataSpec
    model: ModelSpec
    train: TrainSpec
    cluster: ClusterSpec
    index: IndexSpec
    serve: ServeSpec
    tracking: TrackingSpec
    run_dir: str
    fresh: bool
    demo: bool
    load: bool
    tune_baselines: bool
    port: int | None
    plain: dict[str, Any]  # the composed configuration, for the log

    @property
    def identity(self) -> str:
        """The same for every attempt at the same run."""
        return fingerprint_of(self.run_dir, self.plain["data"], self.plain["model"], self.plain["train"])


def settings_of(config: DictConfig) -> Settings:
    """Instantiate a composed configuration. Unknown keys, wrong types and values out of range raise, naming the key."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    parts = {
        name: instantiated(plain[name], name) for name in ("model", "train", "cluster", "index", "serve", "tracking")
    }
    serve: ServeSpec = parts["serve"]  # its replicas may stand in another folder
    recall = replace(serve.recall, out=serve.recall.out and absolute(serve.recall.out))
    versions = serve.index_versions and absolute(serve.index_versions)
    parts["serve"] = replace(serve, index_versions=versions, recall=recall)
    return Settings(
        data=instantiated(plain["data"]["spec"], "data.spec"),
        run_dir=absolute(plain["run_dir"]),
        fresh=plain["fresh"],
        demo=plain["demo"],
        load=plain["load"],
        tune_baselines=plain["tune_baselines"],
        port=plain["port"],
        plain={str(key): held for key, held in plain.items()},
        **parts,
    )


def absolute(path: str) -> str:
    """A local path as seen from anywhere on this machine; a URI stays."""
    return path if "://" in path else str(Path(path).resolve())


S = TypeVar("S")


def job(main: Callable[[Settings], None]) -> Callable[[], None]:
    """Make a command-line entry point of the recommender's jobs."""
    return entry_point("config", settings_of, main)


def entry_point(root: str, settings: Callable[[DictConfig], S], main: Callable[[S], None]) -> Callable[[], None]:
    """Make a command-line entry point: Hydra's overrides in, a user's mistakes as one line and exit status 2."""

    @hydra.main(version_base="1.3", config_path=CONFIGS, config_name=root)
    def entry(config: DictConfig) -> None:
        if "--debug" in sys.argv or os.environ.get("RECSYS_TRACEBACK") == "1":
            main(settings(config))
            return
        try:
            main(settings(config))
        except MISTAKES as error:
            print(f"error: {error}\n(RECSYS_TRACEBACK=1 shows where it was raised)", file=sys.stderr)
            sys.exit(2)

    return entry


def instantiated(config: Any, name: str) -> Any:
    """The value that a composed group stands for; raises ValueError naming the group and the key."""
    try:
        return hydra.utils.instantiate(config, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise ValueError(f"{name}: {cause}") from error
