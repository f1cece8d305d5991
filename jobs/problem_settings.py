"""What jobs.problem was told."""

from __future__ import annotations

from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from jobs.settings import instantiated
from problems import catalogue, load
from recsys.claims.records import FIRST_VERDICT_SEED, parse_seeds
from recsys.cluster.start import ClusterSpec
from recsys.tracking.wandb import TrackingSpec
from recsys.value import value


@value
class ProblemSettings:
    """Which problems, on which seeds, in which worlds, and where the records go."""

    ids: tuple[str, ...]
    seeds: tuple[int, ...]
    scale: Literal["smoke", "claim", "desk", "cluster"]
    world: dict[str, Any]
    sweep: bool
    fresh: bool
    record: bool
    out: str | None
    run_dir: str
    cluster: ClusterSpec
    tracking: TrackingSpec
    plain: dict[str, Any]

    @property
    def keeps(self) -> bool:
        """Whether what is measured belongs in the repository: verdict seeds, in the problem's own worlds, as claimed."""
        return self.record and self.scale == "claim" and not self.world and min(self.seeds) >= FIRST_VERDICT_SEED


def problem_settings(config: DictConfig) -> ProblemSettings:
    """Check a composed configuration; raises ValueError naming the key and what it may be."""
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(plain, dict)
    told = {str(key): held for key, held in plain.items()}
    id = str(told.pop("id"))
    if id in ("???", "None"):
        raise ValueError(f"say which problem: id=p17 (there are {', '.join(catalogue())}), or id=all")
    return ProblemSettings(
        ids=tuple(catalogue()) if id == "all" else tuple(load(each).id for each in id.split(",")),
        seeds=parse_seeds(told.pop("seeds")),
        scale=told.pop("tier"),
        cluster=instantiated(told.pop("cluster"), "cluster"),
        tracking=instantiated(told.pop("tracking"), "tracking"),
        plain={str(key): held for key, held in plain.items()},
        **told,
    )
