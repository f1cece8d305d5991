"""The nearest of 65,536 lists by two levels of matrix products, beside a comparison with all and an HNSW graph over them.

python -m bench.ann_assign [--vectors outputs/ann/10m/vectors] [--lists 65536] [--out bench/ann_assign.json]

CPU time of one thread, arms in turn within a round, the median of rounds; of two flat ways the faster. The error is that of
quantising fresh vectors with the list found, relative to the nearest list.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.kernels_cpu import machine
from recsys.index.faiss_parts import faiss
from recsys.index.kmeans import nearest
from recsys.index.large import sampled
from recsys.index.source import opened_source
from recsys.index.tree import SAMPLE, Tree

ROUNDS, FEW, MANY = 5, 4096, 65_536  # vectors of the slow arms, and of the tree, whose blocks are this large
BARS = {"hnsw/tree": 4.0, "flat/tree": 25.0, "error": 0.02}
EF = 32


def main() -> None:
    told = argparse.ArgumentParser(description=__doc__)
    told.add_argument("--vectors", default="outputs/ann/10m/vectors")
    told.add_argument("--lists", type=int, default=65_536)
    told.add_argument("--out", default="bench/ann_assign.json")
    given = told.parse_args()
    faiss.omp_set_num_threads(1)
    source = opened_source(given.vectors, "cosine")
    began = time.process_time()
    tree = Tree.train(sampled(source, SAMPLE * given.lists, 0), given.lists, 0)
    training = time.process_time() - began
    fresh = source.read(len(source) - MANY, len(source))[1]  # hardly any of them was in the sample
    figures = {
        "lists": len(tree),
        "parents": len(tree.parents),
        "machine": machine(),
        "train_cpu_s": round(training, 1),
    }
    figures |= compared(tree, fresh)
    print(json.dumps(figures, indent=1))
    Path(given.out).write_text(json.dumps(figures, indent=1) + "\n")


def compared(tree: Tree, fresh: np.ndarray) -> dict[str, Any]:
    graph = faiss.IndexHNSWFlat(tree.leaves.shape[1], 32)
    graph.hnsw.efSearch = EF
    graph.add(tree.leaves)
    few, flat = fresh[:FEW], faiss.IndexFlatL2(tree.leaves.shape[1])
    flat.add(tree.leaves)
    arms: dict[str, Callable[[], np.ndarray]] = {
        "tree": lambda: tree.assign(fresh),
        "tree_again": lambda: tree.assign(fresh),
        "flat": lambda: nearest(few, tree.leaves),
        "flat_faiss": lambda: flat.search(few, 1)[1][:, 0],
        "hnsw": lambda: graph.search(few, 1)[1][:, 0],
    }
    spent: dict[str, list[float]] = {name: [] for name in arms}
    found = {name: arm() for name, arm in arms.items()}
    for _ in range(ROUNDS):
        for name, arm in arms.items():
            began = time.process_time()
            arm()
            spent[name].append(1e6 * (time.process_time() - began))
    us = {name: median(times) / len(found[name]) for name, times in spent.items()}
    least = error(few, tree.leaves, found["flat"])
    errors = {name: error(few, tree.leaves, held[:FEW]) / least - 1 for name, held in found.items()}
    ratios = {f"{name}/tree": us[name] / us["tree"] for name in ("hnsw", "tree_again")}
    ratios["flat/tree"] = min(us["flat"], us["flat_faiss"]) / us["tree"]
    return {"us_a_vector": us, "ratios": ratios, "error_above_flat": errors, "bars": BARS}


def error(rows: np.ndarray, leaves: np.ndarray, own: np.ndarray) -> float:
    return float(((rows - leaves[own]) ** 2).sum(1).mean())


if __name__ == "__main__":
    main()
