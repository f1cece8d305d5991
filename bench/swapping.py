"""An endpoint under constant arrivals while two versions of its index take over from each other, beside none that does."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bench.serving import server_process
from jobs.load import users
from recsys.artefact import Artefact, opened
from recsys.funnel.records import Directory
from recsys.funnel.request import FunnelSpec
from recsys.index.online_recall import RecallSpec
from recsys.index.versions import Versions
from serve.client import Client
from serve.loadtest import LoadSpec, run_load
from serve.spec import ServeSpec

ROUNDS = 5  # of load without and with a swap, in turn
LOAD = LoadSpec(rate=10.0, requests=100, deadline_ms=500.0, timeout_s=30.0)
# candidates come from the index alone, so that every item of an answer shows which version it is from
FUNNEL = FunnelSpec(popular_candidates=0, own_history=0)
SHOWN = ("recsys_index_", "recsys_online_recall", "recsys_found", "recsys_stale")


def swapping(work: Path, names: tuple[str, str]) -> dict[str, Any]:
    """Figures of a run folder whose second index holds even items alone."""
    versions = Versions(str(work / "versions"))
    parts = [opened(work / name, "index") for name in names]
    for number in range(ROUNDS + 1):
        versions.publish(parts[number % 2], keep=ROUNDS + 1)
    dataset = opened(work / "dataset", "dataset")
    spec = ServeSpec(
        funnel=FUNNEL, port=0, index_versions=versions.root, index_poll_s=0.5, recall=RecallSpec(share=0.05)
    )
    looked, people = Looked(parts[1].fingerprint, dataset), list(users(dataset))
    quiet, swapped, began = [], [], time.perf_counter()
    with server_process(str(work), spec) as url, Client(url, timeout_s=60) as client:
        memory = {"seconds_to_load": round(time.perf_counter() - began, 1), "gb_loaded": resident()}
        run_load(url, people, LoadSpec(rate=5.0, requests=20))
        for _ in range(ROUNDS):
            quiet.append(run_load(url, people, LOAD, looked))
            turn = threading.Timer(LOAD.requests / LOAD.rate / 4, versions.rollback)
            turn.start()
            swapped.append(run_load(url, people, LOAD, looked))
            turn.join()
            _served(client, versions)
        text = client.metrics()
        memory["gb_after_swaps"] = resident()
    return told(quiet, swapped, looked) | {
        **memory,
        "metrics": [line for line in text.splitlines() if line.startswith(SHOWN) and "_created" not in line],
    }


def told(quiet: list[dict[str, Any]], swapped: list[dict[str, Any]], looked: Looked) -> dict[str, Any]:
    arms = {"quiet": quiet, "swap": swapped}
    p99 = {name: [float(held["p99_ms"]) for held in rounds] for name, rounds in arms.items()}
    stages = {name for held in quiet for name in held["stages_p50_ms"]}
    return {
        "arrivals_per_s": LOAD.rate,
        "requests": sum(held["requests"] for held in quiet + swapped),
        "errors": sum(held["errors"] for held in quiet + swapped),
        "mixed_answers": looked.mixed,
        "answers_by_index": dict(looked.seen),
        "p50_ms": {name: _median([held["p50_ms"] for held in rounds]) for name, rounds in arms.items()},
        "p99_ms": p99,
        "p99_ratio_of_medians": round(float(np.median(p99["swap"]) / np.median(p99["quiet"])), 3),
        "stages_p50_ms": {name: _median([held["stages_p50_ms"][name] for held in quiet]) for name in sorted(stages)},
    }


class Looked:
    """Counts answers by the index that they name, and those with an item that this index doesn't hold."""

    def __init__(self, even: str, dataset: Artefact) -> None:
        self._items, self._even = Directory.load(dataset.path).items, even
        self.seen: Counter[str] = Counter()
        self.mixed = 0

    def __call__(self, answer: dict[str, Any]) -> None:
        version = answer["versions"]["index"]
        self.seen[version] += 1
        odd = sum(self._items[item["item_id"]] % 2 for item in answer["items"])
        self.mixed += version == self._even and odd > 0


def resident() -> dict[str, float]:
    """GB of the server's process: its own, of mapped files, and the most that both have been together."""
    server = multiprocessing.active_children()[0]
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    held = dict(line.split(":") for line in lines if line.startswith(("RssAnon", "RssFile", "VmHWM")))
    return {name: round(int(size.split()[0]) / 1e6, 3) for name, size in held.items()}


def _served(client: Client, versions: Versions) -> None:
    until = time.monotonic() + 60
    while client.health()["index_version"]["held"] != versions.current():
        if time.monotonic() > until:
            raise RuntimeError(f"{versions.current()} isn't served after a minute")
        time.sleep(0.2)


def _median(held: list[float]) -> float:
    return round(float(np.median(held)), 2)
