"""A prior is one more coordinate of every vector: a query's weight for it is the same coordinate of the query."""

from __future__ import annotations

import numpy as np

from recsys.fingerprint import array_sha256, fingerprint_of
from recsys.index.source import Source
from recsys.index.spec import Metric
from recsys.value import require

PARTS = 4  # codes have an even number of parts, of one dimension or of two, so dimensions come by four


def width(dim: int) -> int:
    """Dimensions of vectors of `dim` with a prior and the zeros behind it."""
    return dim + PARTS - dim % PARTS


def padded(rows: np.ndarray, dim: int) -> np.ndarray:
    """[n, dim] rows [n, D] float32 with zeros behind them."""
    missing = dim - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing))) if missing else rows


class Priced:
    """The vectors [n, D] of a source as [n, W], with the prior [n] float32 of each row in column D and zeros behind it."""

    half = None  # a file of half floats lacks the prior

    def __init__(self, source: Source, prior: np.ndarray) -> None:
        require(source.metric != "l2", "a prior is added to an inner product: use metric cosine or inner_product")
        require(prior.shape == (len(source),), f"prior must be [{len(source)}], one for each vector, got {prior.shape}")
        self.source, self.prior = source, prior
        self.metric: Metric = source.metric
        self.dim = width(source.dim)
        self.fingerprint = fingerprint_of(source.fingerprint, array_sha256(prior))
        self.origin = source.origin

    @property
    def vector_dim(self) -> int:
        """Of the vectors alone."""
        return self.source.dim

    def __len__(self) -> int:
        return len(self.source)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        ids, vectors = self.source.read(start, stop)
        rows = padded(vectors, self.dim)
        rows[:, self.source.dim] = self.prior[start : start + len(rows)]
        return ids, rows
