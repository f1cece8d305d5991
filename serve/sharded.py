"""A router chooses once for a batch which lists it visits, shards by item hash search them, and the router merges."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve import Application

from recsys.artefact import ArtefactError, opened
from recsys.index.exact import Hits
from recsys.index.preassigned import merged, probe_lists
from recsys.index.sharding import KIND, load_router, load_shard, replaced, search_items
from recsys.value import require, value
from serve.runner import Running
from serve.search import create_search_app

APP = "search"
MAX_ONGOING = 64  # batches that a replica works on or holds


@value
class ShardedSpec:
    """Where the router listens, and what each process may use."""

    host: str = "127.0.0.1"
    port: int = 8001
    num_cpus: float = 1.0  # of Ray, for a shard; the router takes a tenth
    threads: int = 1

    def __post_init__(self) -> None:
        require(0 <= self.port <= 65_535, f"port must be from 0 to 65535, got {self.port}")
        require(self.num_cpus > 0, f"num_cpus must be positive, got {self.num_cpus}")
        require(self.threads >= 1, f"threads must be at least 1, got {self.threads}")


class Shard:
    """One shard in a process of its own; a plain class, which Ray Serve makes replicas of."""

    def __init__(self, uri: str, shard: int, threads: int) -> None:
        self._index = load_shard(opened(uri, KIND), shard, threads)

    def search(self, queries: np.ndarray, k: int, lists: np.ndarray, allowed: np.ndarray | None) -> Hits:
        return search_items(self._index, queries, k, lists, allowed)


class Router:
    """The lists of the whole index, and a handle of every shard."""

    def __init__(self, uri: str, threads: int, *shards: Any) -> None:
        artefact = opened(uri, KIND)
        index, self._golden = load_router(artefact, threads)
        self._path = artefact.path
        self._lists, self._shards, self.dim = index.engine, shards, index.dim
        self.versions = {"index": artefact.meta["index"]} | {
            name: artefact.meta[name] for name in ("model", "checkpoint")
        }

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_search_app(self)

    async def search(self, queries: np.ndarray, k: int, allowed: np.ndarray | None = None) -> Hits:
        """As `search_whole` of the whole index, to the bit."""
        found = await self._ask(queries, k, probe_lists(self._lists, queries), allowed)
        short = np.flatnonzero(found.ids[:, -1] < 0)
        if len(short):
            every = probe_lists(self._lists, queries[short], self._lists.lists)
            found = replaced(found, short, await self._ask(queries[short], k, every, allowed))
        return found

    async def check_golden(self) -> None:
        """Raises ArtefactError when the shards answer otherwise than the whole index did when it was built."""
        width = self._golden.ids.shape[1]
        if width:
            self._golden.compare(await self.search(self._golden.queries, width), self._path)

    async def _ask(self, queries: np.ndarray, k: int, lists: np.ndarray, allowed: np.ndarray | None) -> Hits:
        asked = [shard.search.remote(queries, k, lists, allowed) for shard in self._shards]
        return merged(list(await asyncio.gather(*asked)), k)


def build_sharded(spec: ShardedSpec, uri: str) -> Application:
    """The application of a split index. Raises ArtefactError here, on the driver, when it isn't whole."""
    count = opened(uri, KIND).meta["shards"]
    limits: dict[str, Any] = {"max_ongoing_requests": MAX_ONGOING, "graceful_shutdown_timeout_s": 10}
    shards = [
        ray_serve.deployment(name=f"shard-{number}", ray_actor_options={"num_cpus": spec.num_cpus}, **limits)(
            Shard
        ).bind(uri, number, spec.threads)
        for number in range(count)
    ]
    options = {"num_cpus": spec.num_cpus / 10}
    router = ray_serve.deployment(name="router", ray_actor_options=options, **limits)(ray_serve.ingress()(Router))
    return router.bind(uri, spec.threads, *shards)


def start_sharded(spec: ShardedSpec, uri: str) -> Running:
    """Deploy on the Ray cluster that the caller has initialised; returns when every shard is loaded.

    Raises ArtefactError when the shards answer the golden queries otherwise than the whole index did.
    """
    application = build_sharded(spec, uri)
    ray_serve.start(proxy_location="HeadOnly", http_options={"host": spec.host, "port": spec.port})
    router = ray_serve.run(application, name=APP, route_prefix="/", logging_config={"enable_access_log": False})
    try:
        router.check_golden.remote().result()
    except ArtefactError:
        ray_serve.shutdown()
        raise
    return Running(f"http://{spec.host}:{spec.port}", ray_serve.shutdown)
