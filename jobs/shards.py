"""Split a run's index by item hash and serve the shards: `python -m jobs.shards run_dir=DIR shards=3 answer=true`."""

from __future__ import annotations

import signal
import threading
from typing import Any

from omegaconf import DictConfig, OmegaConf

from jobs.settings import entry_point, instantiated
from recsys.artefact import Artefact, join_uri, opened, peek
from recsys.cluster.start import ClusterSpec, connected
from recsys.index.sharding import KIND, shards_fingerprint, split_index
from recsys.value import require, value
from serve.sharded import ShardedSpec, start_sharded


@value
class ShardsSettings:
    """Whose index is split into how many shards, and whether they are served."""

    run_dir: str
    shards: int
    out: str | None
    answer: bool
    spec: ShardedSpec
    cluster: ClusterSpec

    def __post_init__(self) -> None:
        require(self.shards >= 1, f"shards must be at least 1, got {self.shards}")


def shards_settings(config: DictConfig) -> ShardsSettings:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    cluster = instantiated(plain.pop("cluster"), "cluster")
    spec = ShardedSpec(**{name: plain.pop(name) for name in ("host", "port", "num_cpus", "threads")})
    return ShardsSettings(spec=spec, cluster=cluster, **plain)


def split(settings: ShardsSettings) -> tuple[str, Artefact]:
    """run_dir/shards: those that are there, if they are of this index and this number, else new ones."""
    index = opened(join_uri(settings.run_dir, "index"), "index")
    target = settings.out or join_uri(settings.run_dir, "shards")
    if (peek(target, KIND) or {}).get("fingerprint") == shards_fingerprint(index, settings.shards):
        return target, opened(target, KIND)
    return target, split_index(index, settings.shards, target)


def main(settings: ShardsSettings) -> None:
    target, made = split(settings)
    print(f"shards: {made.meta['items']} items in {made.meta['shards']} shards, {target}", flush=True)
    if not settings.answer:
        return
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with connected(settings.cluster):
        running = start_sharded(settings.spec, target)
        print(f"serving {target} at {running.url}: POST /v1/search, GET /healthz, /metrics", flush=True)
        stop.wait()
        running.stop()


if __name__ == "__main__":
    entry_point("shards", shards_settings, main)()
