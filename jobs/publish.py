"""Publish a run's index as the current version, or go back: `python -m jobs.publish run_dir=DIR versions=ROOT`."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from jobs.settings import entry_point
from recsys.artefact import join_uri, opened
from recsys.index.envelope import SealedIndex
from recsys.index.versions import KIND, Versions
from recsys.value import require, value


@value
class PublishSettings:
    """Which index becomes current where, and how many versions stay."""

    run_dir: str
    versions: str | None
    keep: int
    rollback: bool

    def __post_init__(self) -> None:
        require(bool(self.versions), "give versions=, the folder or URI below which versions of the index are kept")
        require(self.keep >= 1, f"keep must be at least 1, got {self.keep}")


def publish_settings(config: DictConfig) -> PublishSettings:
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return PublishSettings(**{str(key): held for key, held in plain.items()})


def main(settings: PublishSettings) -> None:
    versions = Versions(settings.versions or "")
    if settings.rollback:
        print(f"publish: {versions.root} is back at {versions.rollback()}")
        return
    index = opened(join_uri(settings.run_dir, "index"), KIND)
    SealedIndex.load(index)  # an index that fails its golden queries isn't published
    print(f"publish: {versions.root} is at {versions.publish(index, settings.keep)}")
    print(f"publish: kept are {', '.join(versions.names())}")


if __name__ == "__main__":
    entry_point("publish", publish_settings, main)()
