"""What every layout of faiss's shares: threads that belong to the calling thread, masks as bits, minus a distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np

from recsys.index.exact import Hits
from recsys.index.spec import Metric

faiss: Any = _faiss  # its stubs know only the C++ signatures, not what the Python wrappers accept

INDEX_FILE = "index.faiss"


def metric_of(index: Any) -> Metric:
    """Which metric an index of faiss's ranks by; that of cosine is the inner product."""
    return "l2" if index.metric_type == faiss.METRIC_L2 else "inner_product"


def metric_type(metric: Metric) -> int:
    return faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT


def selector(allowed: np.ndarray | None) -> tuple[Any, np.ndarray | None]:
    """A selector of the places allowed [n], and the bits that it points at: they must live as long as it does."""
    if allowed is None:
        return None, None
    bits = np.packbits(allowed, bitorder="little")
    return faiss.IDSelectorBitmap(bits), bits


def found(index: Any, queries: np.ndarray, k: int, parameters: Any) -> Hits:
    """The hits of one search; more is nearer, whatever the metric."""
    scores, places = index.search(queries, k, params=parameters)
    if index.metric_type == faiss.METRIC_L2:
        scores = -scores
    scores[places < 0] = -np.inf
    return Hits(ids=places, scores=scores)


def written(index: Any, folder: Path) -> None:
    faiss.write_index(index, str(folder / INDEX_FILE))


def read(folder: Path, kind: type) -> Any:
    """The index in a folder; raises ValueError when it is of another class than `kind`."""
    index = faiss.read_index(str(folder / INDEX_FILE))
    if not isinstance(index, kind):
        raise ValueError(f"{folder / INDEX_FILE} holds a {type(index).__name__}; build the index again with jobs.index")
    return index
