"""What a query waits for behind Ray Serve, rung by rung of the ladder of encoders: every query is asked of every arm in turn.

python -m bench.query_encoder [--width 384] [--layers 12] [--requests 200] [--out query_encoder.json]

Weights are drawn, not trained: time doesn't depend on them. Spans are the replica's own; the rest is Serve and the way there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import serve as ray_serve
from torch import nn
from torch.nn.functional import normalize

from recsys.cluster.start import ClusterSpec, connected
from recsys.encoders.int8 import quantised
from recsys.encoders.query import HashedBag, Transformer
from recsys.encoders.query_cache import QueryCache
from recsys.random import rng, torch_rng

VOCABULARY, LONGEST, FIXED, DIM, ITEMS = 30_000, 16, 64, 128, 50_000
NOISE = 0.1  # by which the teacher's median may differ from its own, asked twice
WARM = 20


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--width", type=int, default=384)
    told.add_argument("--layers", type=int, default=12)
    told.add_argument("--requests", type=int, default=200, help="of each arm")
    told.add_argument("--out", default=None, help="where the figures go as JSON; default: only to the screen")
    given = told.parse_args()
    figures = measure(given.width, given.layers, given.requests)
    print(json.dumps(figures))
    if given.out:
        Path(given.out).write_text(json.dumps(figures, indent=1))
    if not figures["valid"]:
        sys.exit(f"the machine is too noisy: the teacher asked twice differs by more than {NOISE:.0%}; run again")


class Encode:
    """A replica with every rung: tokens in, the ten nearest items out."""

    def __init__(self, width: int, layers: int) -> None:
        torch.set_num_threads(1)
        self.models = rungs(width, layers)
        self.items = normalize(torch.randn(ITEMS, DIM, generator=torch_rng(0, "items")), dim=1)
        self.cache = QueryCache(2_000, version="bench")

    def ask(self, arm: str, query: list[int]) -> dict[str, float]:
        """Milliseconds of encode and search."""
        began = time.perf_counter()
        with torch.inference_mode():
            vector = self._vector(arm, query)
            encoded = time.perf_counter()
            (vector @ self.items.T).topk(10)
        done = time.perf_counter()
        return {"encode": 1000 * (encoded - began), "search": 1000 * (done - encoded)}

    def _vector(self, arm: str, query: list[int]) -> torch.Tensor:
        if arm == "padded":
            return self.models["teacher"](torch.tensor([query + [0] * (FIXED - len(query))]))
        if arm != "cached":
            return self.models[arm.removesuffix("_again")](torch.tensor([query]))
        text, now = " ".join(map(str, query)), time.monotonic()
        found = self.cache.get(text, now)
        if found is None:
            found = self.models["teacher"](torch.tensor([query]))
            self.cache.put(text, found, now)
        return found


def rungs(width: int, layers: int) -> dict[str, nn.Module]:
    teacher = Transformer(layers=layers, width=width, heads=width // 32)
    specs = {
        "teacher": teacher,
        "half": Transformer(layers=max(1, layers // 2), width=width, heads=width // 32),
        "two": Transformer(layers=2, width=width, heads=width // 32),
        "one": Transformer(layers=1, width=width, heads=width // 32),
        "bigrams": HashedBag(grams=2, buckets=200_000),
        "bag": HashedBag(),
    }
    built = {name: spec.build(VOCABULARY, DIM, FIXED, 0).eval() for name, spec in specs.items()}
    return built | {"int8": quantised(built["teacher"])}


def traffic(num: int) -> list[list[int]]:
    """Two to sixteen tokens; the same few queries are typed again and again (Zipf)."""
    draws = rng(0, "traffic")
    distinct = [draws.integers(1, VOCABULARY, draws.integers(2, LONGEST + 1)).tolist() for _ in range(num)]
    share = 1 / np.arange(1, num + 1)
    return [distinct[i] for i in draws.choice(num, num, p=share / share.sum())]


def measure(width: int, layers: int, requests: int) -> dict[str, Any]:
    names = ["teacher", "teacher_again", "padded", "int8", "half", "two", "one", "bigrams", "bag", "cached"]
    spent: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    order, asked = rng(0, "order of arms"), traffic(requests + WARM)
    with connected(ClusterSpec(workers=1)):
        made = ray_serve.deployment(num_replicas=1, ray_actor_options={"num_cpus": 1})(Encode)
        handle = ray_serve.run(made.bind(width, layers), name="query_encoder", route_prefix=None)
        for number, query in enumerate(asked):
            for name in order.permutation(names):
                began = time.perf_counter()
                spans = handle.ask.remote(str(name), query).result()
                if number >= WARM:
                    spent[str(name)].append((1000 * (time.perf_counter() - began), spans["encode"], spans["search"]))
        ray_serve.shutdown()
    return summary(spent) | {"width": width, "layers": layers, "requests": requests, "torch": torch.__version__}


def summary(spent: dict[str, list[tuple[float, float, float]]]) -> dict[str, Any]:
    held = {name: np.array(rows) for name, rows in spent.items()}
    p50, p99 = ({name: np.quantile(rows[:, 0], at) for name, rows in held.items()} for at in (0.5, 0.99))
    again = float(p50["teacher_again"] / p50["teacher"])
    arms = {
        name: {
            "p50_ms": round(float(p50[name]), 3),
            "p99_ms": round(float(p99[name]), 3),
            "p50_ratio": round(float(p50[name] / p50["teacher"]), 3),
            "p99_ratio": round(float(p99[name] / p99["teacher"]), 3),
            "encode_p50_ms": round(float(np.median(rows[:, 1])), 3),
            "search_p50_ms": round(float(np.median(rows[:, 2])), 3),
        }
        for name, rows in held.items()
    }
    return {"valid": abs(again - 1) <= NOISE, "again_ratio": round(again, 4), "arms": arms}


if __name__ == "__main__":
    main()
