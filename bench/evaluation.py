"""Ranking metrics of the same lists: users a second here, in ranx, and in RecBole where it runs.

python -m bench.evaluation [--users 50000] [--k 20] [--out evaluation.json]

One thread each, CPU time, interleaved. ranx is given its fastest input (typed lists of arrays, made beforehand);
RecBole is even given which places are hits. No speed is reported unless all values are equal first.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import set_num_threads
from numba.typed.typedlist import List as TypedList
from ranx import evaluate as ranx_evaluate
from torch import Tensor

from recsys.batch import Jagged
from recsys.evaluate.metrics import METRICS, judge
from recsys.evaluate.timing import interleave
from recsys.random import rng

RANX = {"uncapped_recall": "recall", "ndcg": "ndcg", "mrr": "mrr", "uncapped_map": "map"}
RECBOLE = {"uncapped_recall": "Recall", "ndcg": "NDCG", "mrr": "MRR"}  # its map is another average
NUM_ITEMS = 50_000
GOAL = 2.0

Values = dict[str, np.ndarray]  # our name of a metric -> [U]


@dataclass(frozen=True, slots=True)
class Case:
    """Ranked lists that find about a fifth of what users took, and what they took: about 20 items, some many more."""

    ranked: Tensor  # [U, k]
    relevant: Jagged
    k: int

    @classmethod
    def draw(cls, num_users: int, k: int) -> Case:
        generator = rng(0, "bench", "evaluation")
        sizes = np.clip(generator.lognormal(2.7, 0.8, num_users).astype(int), 1, 400)
        rows = [generator.choice(NUM_ITEMS, size, replace=False) for size in sizes]
        ranked = np.empty((num_users, k), dtype=np.int64)
        for u, row in enumerate(rows):
            pool = np.concatenate([row[: 1 + len(row) // 4], generator.choice(NUM_ITEMS, 2 * k, replace=False)])
            ranked[u] = generator.permutation(np.unique(pool))[:k]
        offsets = torch.from_numpy(np.append(0, sizes.cumsum()))
        return cls(torch.from_numpy(ranked), Jagged(torch.from_numpy(np.concatenate(rows)), offsets), k)


def ours(case: Case) -> Callable[[], Values]:
    def run() -> Values:
        judged = judge(case.ranked, case.relevant)
        return {name: METRICS[name](judged, case.k).numpy() for name in RANX}

    return run


def ranx(case: Case) -> Callable[[], Values]:
    places = np.arange(case.k, 0, -1, dtype=np.float64)
    lists = TypedList([np.stack([row.astype(np.float64), places], 1) for row in case.ranked.numpy()])
    offsets, values = case.relevant.offsets.tolist(), case.relevant.values.double().numpy()
    rows = (values[start:stop] for start, stop in pairwise(offsets))
    judgements = TypedList([np.stack([row, np.ones(len(row))], 1) for row in rows])
    names = {ours: f"{theirs}@{case.k}" for ours, theirs in RANX.items()}

    def run() -> Values:
        found = ranx_evaluate(judgements, lists, list(names.values()), return_mean=False)
        return {ours: found[theirs] for ours, theirs in names.items()}  # type: ignore[index]

    return run


def recbole(case: Case) -> Callable[[], Values] | str:
    """The arm, or why there is none."""
    if not hasattr(np, "float"):
        return f"RecBole's metrics use numpy.float, which NumPy {np.__version__} doesn't have"
    try:
        evaluator = importlib.import_module("recbole.evaluator")
    except ImportError as error:
        return f"RecBole isn't installed: {error}"
    hits = judge(case.ranked, case.relevant).gains.numpy() > 0
    lengths = case.relevant.lengths.numpy()
    metrics = {
        name: getattr(evaluator, theirs)({"topk": [case.k], "metric_decimal_place": 9})
        for name, theirs in RECBOLE.items()
    }

    def run() -> Values:
        return {name: metric.metric_info(*_wanted(name, hits, lengths))[:, -1] for name, metric in metrics.items()}

    return run


def _wanted(name: str, hits: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, ...]:
    return (hits,) if name == "mrr" else (hits, lengths)


def measure(num_users: int, k: int, rounds: int) -> dict[str, Any]:
    """Users a second of each arm, and how many times faster ours is; raises ValueError where values differ."""
    torch.set_num_threads(1)
    set_num_threads(1)
    case = Case.draw(num_users, k)
    arms = {"ours": ours(case), "ranx": ranx(case)}
    peer = recbole(case)
    note = peer if isinstance(peer, str) else ""
    if not isinstance(peer, str):
        arms["recbole"] = peer
    truth = arms["ours"]()
    for name, arm in arms.items():
        for metric, values in arm().items():
            worst = float(np.abs(values - truth[metric]).max())
            if not worst <= 1e-6:
                raise ValueError(f"{name} and ours differ by {worst} in {metric}@{k}: no speed to report")
    timings = interleave(arms, rounds)
    ratios = {f"{name}/ours": timings.ratio(name, "ours") for name in arms if name != "ours"}
    return {
        "bench": "evaluation",
        "users": num_users,
        "k": k,
        "metrics": list(RANX),
        "users_per_s": {name: num_users / timings.median(name) for name in arms},
        "ratios": ratios,
        "goal": GOAL,
        "reached": ratios["ranx/ours"] >= GOAL,
        "aa_ratio": timings.aa_ratio,
        "quiet": timings.quiet(),
        "recbole": note or "measured",
    }


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    told.add_argument("--users", type=int, default=50_000, help="users whose lists are measured")
    told.add_argument("--k", type=int, default=20, help="length of the lists")
    told.add_argument("--rounds", type=int, default=15, help="timed turns of each arm")
    told.add_argument("--out", default=None, help="where the figures go as JSON; default: only to the screen")
    given = told.parse_args()
    figures = measure(given.users, given.k, given.rounds)
    print(json.dumps(figures))
    if given.out:
        Path(given.out).write_text(json.dumps(figures))
    if not figures["quiet"]:
        sys.exit(f"the machine is too noisy: ours against itself gives {figures['aa_ratio']:.3f}; run again")


if __name__ == "__main__":
    main()
