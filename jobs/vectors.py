"""Stream synthetic vectors to disk, with queries of two kinds and their exact nearest 100, for tests of scale."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from jobs.settings import entry_point, instantiated
from recsys.cluster.start import ClusterSpec
from recsys.cluster.tasks import run_tasks
from recsys.index.synthetic import SyntheticVectors
from recsys.index.vectors_folder import generated
from recsys.value import require, value


@value
class VectorsSettings:
    """How many vectors, and where they go."""

    n: int
    dim: int
    out: str
    seed: int
    dev: int
    test: int
    cluster: ClusterSpec

    def __post_init__(self) -> None:
        for name in ("dev", "test"):
            require(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")


def vectors_settings(config: DictConfig) -> VectorsSettings:
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    told = {str(key): held for key, held in plain.items()}
    return VectorsSettings(**{**told, "cluster": instantiated(told["cluster"], "cluster")})


def write(settings: VectorsSettings) -> None:
    spec = SyntheticVectors(n=settings.n, dim=settings.dim, seed=settings.seed)
    run = partial(run_tasks, spec=settings.cluster)
    made = generated(spec, {"dev": settings.dev, "test": settings.test}, Path(settings.out), run)
    for stage, seconds in made.meta["cpu_seconds"].items():
        print(f"{stage}: {1e6 * seconds / settings.n:.2f} CPU us a vector")
    print(f"{settings.n} vectors of {settings.dim} in {settings.out}")


main = entry_point("vectors", vectors_settings, write)

if __name__ == "__main__":
    main()
