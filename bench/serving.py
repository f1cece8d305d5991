"""What the way to the funnel costs: in process, over plain ASGI and over Ray Serve, the same requests in turn.

python -m bench.serving --run outputs/demo [--requests 200] [--out serving.json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.cluster.start import ClusterSpec, connected
from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts, Release
from recsys.funnel.request import RecommendRequest
from recsys.random import rng
from serve.client import Client
from serve.loadtest import LoadSpec, run_load
from serve.runner import start, start_plain
from serve.spec import ServeSpec

Ask = Callable[[str], Mapping[str, float]]  # user id -> milliseconds by stage
NOISE = 0.05  # an arm timed twice in one run may differ by this share; beyond it the run says nothing
DEADLINE_MS = 200.0
OVERLOAD = (0.5, 1.0, 1.5, 2.0)  # of what one request at a time comes to


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--run", default="outputs/demo", help="run folder with dataset, checkpoint, item_vectors, index")
    told.add_argument("--requests", type=int, default=200, help="of each arm")
    told.add_argument("--port", type=int, default=8123, help="of Ray Serve, on loopback")
    told.add_argument("--out", default=None, help="where the figures go as JSON; default: only to the screen")
    given = told.parse_args()
    figures = measure(given.run, given.requests, given.port)
    text = json.dumps(figures, indent=1)
    print(text)
    if given.out:
        Path(given.out).write_text(text)
    if not figures["valid"]:
        sys.exit(f"the machine is too noisy: the same arm timed twice differs by more than {NOISE:.0%}; run again")


def measure(run: str, requests: int, port: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    parts = Parts.load(Release.of(run))
    funnel = Funnel(parts, ServeSpec().funnel)
    funnel.warm_up()
    known = list(parts.records.directory.users)
    users = [known[place] for place in rng(0, "users").choice(len(known), requests)]
    with (
        server_process(run, ServeSpec(port=0, deadline_ms=None)) as plain_url,
        ray_server(run, port) as ray_url,
        Client(plain_url) as plain,
    ):
        with Client(ray_url) as behind_ray:
            arms = {
                "in_process": in_process(funnel),
                "in_process_again": in_process(funnel),
                "plain_asgi": over_http(plain),
                "ray_serve": over_http(behind_ray),
            }
            latencies, stages = interleaved(arms, users)
        told = summary(latencies, stages)
        told["load"] = under_load(plain_url, users, capacity=1000 / told["arms"]["plain_asgi"]["p50_ms"])
    return {"items": parts.dataset.num_items, "requests": requests, "versions": parts.versions, **told}


def in_process(funnel: Funnel) -> Ask:
    return lambda user: funnel.recommend([RecommendRequest(user_id=user)])[0].timings_ms


def over_http(client: Client) -> Ask:
    return lambda user: client.recommend(user)["timings_ms"]


def interleaved(
    arms: Mapping[str, Ask], users: Sequence[str], warm: int = 20
) -> tuple[dict[str, list[float]], dict[str, dict[str, list[float]]]]:
    """Every user is asked for by every arm, one after the other.

    Their order is drawn anew each time: whoever follows another arm finds the user's data in the caches.
    """
    names, order = list(arms), rng(0, "order of arms")
    latencies: dict[str, list[float]] = {name: [] for name in names}
    stages: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for number, user in enumerate([*users[:warm], *users]):
        for name in order.permutation(names):
            began = time.perf_counter()
            spent = arms[name](user)
            took = (time.perf_counter() - began) * 1000
            if number < warm:
                continue
            latencies[name].append(took)
            for stage, part in spent.items():
                stages[name].setdefault(stage, []).append(part)
    return latencies, stages


def summary(latencies: Mapping[str, list[float]], stages: Mapping[str, dict[str, list[float]]]) -> dict[str, Any]:
    p50 = {name: float(np.median(held)) for name, held in latencies.items()}
    first, again = p50["in_process"], p50["in_process_again"]
    arms = {
        name: {
            "p50_ms": round(p50[name], 3),
            "p99_ms": round(float(np.quantile(held, 0.99)), 3),
            "ratio": round(p50[name] / first, 3),
            "stages_p50_ms": {stage: round(float(np.median(spent)), 3) for stage, spent in stages[name].items()},
        }
        for name, held in latencies.items()
    }
    return {"valid": abs(again / first - 1) <= NOISE, "again_ratio": round(again / first, 4), "arms": arms}


def under_load(url: str, users: Sequence[str], capacity: float) -> dict[str, Any]:
    """Open arrivals below, at and above what the server can do: what is late, degraded and refused."""
    shape = {"requests": 200, "deadline_ms": DEADLINE_MS, "tell_deadline": True}
    return {f"{share}x": run_load(url, users, LoadSpec(rate=share * capacity, **shape)) for share in OVERLOAD}


@contextmanager
def server_process(run: str, spec: ServeSpec) -> Iterator[str]:
    """A server process of its own, so that client and server don't share an interpreter."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(run, spec, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join(timeout=30)


def _serve(run: str, spec: ServeSpec, pipe: Connection) -> None:
    torch.set_num_threads(1)
    running = start_plain(spec, run)
    pipe.send(running.url)
    pipe.recv()
    running.stop()


@contextmanager
def ray_server(run: str, port: int) -> Iterator[str]:
    with connected(ClusterSpec(workers=1)):
        running = start(ServeSpec(port=port, deadline_ms=None), str(Path(run).resolve()))
        try:
            yield running.url
        finally:
            running.stop()


if __name__ == "__main__":
    main()
