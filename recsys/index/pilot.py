"""What an index will find can be told from a sample before it is built: in which lists the nearest vectors would lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.index.priced import padded
from recsys.index.probing import Prober
from recsys.index.running_top import RunningTop
from recsys.index.source import Source
from recsys.index.tree import Tree

K = 100
CODES = 0.006  # of recall that candidates by codes and their rank by bytes cost, at 2 k candidates (bench/ann_10m.json)


@dataclass(frozen=True, slots=True)
class Forecast:
    """So many lists are expected to find this share of the nearest 100."""

    probes: int
    recall: float


def forecast(tree: Tree, rows: np.ndarray, source: Source, queries: np.ndarray, rungs: list[int]) -> list[Forecast]:
    """For each number of lists, from sampled rows [n, D] and queries [Q, D].

    The nearest 100 of all vectors are as near as the nearest 100 n / N of the sample, so their lists are alike.
    """
    near = max(1, round(K * min(1.0, len(rows) / len(source))))
    top = RunningTop(queries, near, source.metric)
    top.add(rows, 0)
    lists = tree.assign(rows)[top.hits().ids]
    prober = Prober.of(tree, source.metric)
    told = []
    for probes in rungs:
        visited = prober.probes(padded(queries, prober.tree.leaves.shape[1]), probes)[0]
        inside = [np.isin(own, seen).mean() for own, seen in zip(lists, visited, strict=True)]
        told.append(Forecast(probes, float(max(0.0, np.mean(inside) - CODES))))
    return told


def enough(told: list[Forecast], target: float) -> Forecast:
    """The fewest lists that reach the target, or the most that were looked at."""
    return next((one for one in told if one.recall >= target), told[-1])
