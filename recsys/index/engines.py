"""The folder of an index names its engine, so that whoever opens it needs no other knowledge."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from recsys.index.engine import Engine
from recsys.index.flat import FlatEngine
from recsys.index.inverted import InvertedEngine, widened
from recsys.index.spec import IndexSpec
from recsys.value import require

EngineName = Literal["flat", "ivf", "compressed"]


def built_engine(vectors: np.ndarray, spec: IndexSpec, prior: np.ndarray | None = None) -> Engine:
    """The layout that the spec asks for, of checked vectors [n, D].

    With a `prior` [n] the engine holds vectors of D + 1 dimensions, of which it is the last.
    """
    if spec.kind_for(len(vectors)) == "flat":
        return FlatEngine.build(vectors if prior is None else widened(vectors, prior), spec.metric, spec.threads)
    return InvertedEngine.build(vectors, spec, prior)


def loaded_engine(name: str, folder: Path, threads: int) -> Engine:
    """The engine of this name from its folder. Raises ValueError for a name that this code doesn't know."""
    require(
        name in get_args(EngineName),
        f"{folder} was laid out by engine {name!r}, this code knows {', '.join(get_args(EngineName))}: "
        "update the code, or build the index again with jobs.index",
    )
    if name == "flat":
        return FlatEngine.load(folder, threads)
    if name == "ivf":
        return InvertedEngine.load(folder, threads)
    return import_module("recsys.index.compressed").CompressedEngine.load(folder, threads)


def engine_name(engine: Engine) -> EngineName:
    if isinstance(engine, FlatEngine):
        return "flat"
    return "ivf" if isinstance(engine, InvertedEngine) else "compressed"
