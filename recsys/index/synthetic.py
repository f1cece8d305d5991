"""Embeddings of a catalogue lie in clusters of very different sizes, and users' embeddings lie beside them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from recsys.random import rng
from recsys.value import require, value

CHUNK = 100_000  # vectors of one random stream
SUPER_CLUSTERS, CLUSTERS = 512, 20_000
GLOBAL_DECAY, NOISE_DECAY = 0.35, 0.5  # of the spectra: the i-th axis has weight i ** -decay
CLUSTER_OFFSET, ITEM_NOISE = 0.8, 1.0  # relative to the norm of a super-cluster's centre
SIZE_DECAY = 0.8
QUERY_NOISE, GAP, USER_NOISE = 0.5, 0.4, 0.4
MOST_ITEMS = 5  # that a user's taste is a mean of

Kind = Literal["ind", "ood"]
KINDS: tuple[Kind, Kind] = ("ind", "ood")


@value
class SyntheticVectors:
    """Unit vectors in Zipf-sized clusters within super-clusters, with a spectrum of their own in each cluster.

    Queries of kind "ind" are items with noise; "ood" are users: weighted means of one to five items, moved by a vector
    that is the same for all (the modality gap of two-tower models), with noise. A vector depends on seed, dim, number
    of clusters and its own chunk only.
    """

    n: int
    dim: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.n >= 1, f"n must be at least 1, got {self.n}")
        require(self.dim >= 2, f"dim must be at least 2, got {self.dim}")

    @property
    def chunks(self) -> int:
        return -(-self.n // CHUNK)


class World:
    """The clusters that vectors are drawn from."""

    def __init__(self, spec: SyntheticVectors) -> None:
        self.spec = spec
        draw = rng(spec.seed, "vectors", "world", spec.dim)
        self.clusters = int(np.clip(spec.n // 50, 8, CLUSTERS))
        supers = int(np.clip(self.clusters // 8, 4, SUPER_CLUSTERS))
        dim = spec.dim
        rotation = np.linalg.qr(draw.standard_normal((dim, dim)))[0]
        self.rotation = rotation.astype(np.float32)
        spectrum = _spectrum(dim, GLOBAL_DECAY)
        centres = draw.standard_normal((supers, dim)) * spectrum
        offsets = draw.standard_normal((self.clusters, dim)) * spectrum * CLUSTER_OFFSET
        own = centres[draw.integers(0, supers, self.clusters)] + offsets
        self.centres = (own @ rotation).astype(np.float32)  # [C, D]
        self.spreads = self._noise_spectra(draw)  # [C, D]
        sizes = (np.arange(self.clusters) + self.clusters / 100) ** -SIZE_DECAY
        self.cumulative = np.cumsum(sizes / sizes.sum())
        self.gap = _unit(draw.standard_normal((1, dim)).astype(np.float32))

    def _noise_spectra(self, draw: np.random.Generator) -> np.ndarray:
        """Each cluster is widest along other axes than the next one."""
        dim = self.spec.dim
        axes = draw.permuted(np.tile(np.arange(dim), (self.clusters, 1)), axis=1)
        spread = ITEM_NOISE * draw.uniform(0.6, 1.4, (self.clusters, 1))
        return (_spectrum(dim, NOISE_DECAY)[axes] * spread).astype(np.float32)

    def chunk(self, number: int) -> np.ndarray:
        """Vectors [m, D] float16 of one chunk, norm 1 but for their rounding."""
        first = number * CHUNK
        count = min(CHUNK, self.spec.n - first)
        draw = rng(self.spec.seed, "vectors", "chunk", number)
        cluster = np.searchsorted(self.cumulative, draw.random(count) * self.cumulative[-1])
        made = np.empty((count, self.spec.dim), np.float16)
        for start in range(0, count, 8192):  # stays in the cache
            own = cluster[start : start + 8192]
            noise = draw.standard_normal((len(own), self.spec.dim), np.float32) * self.spreads[own]
            rows = _unit(self.centres[own] + noise @ self.rotation)
            made[start : start + 8192] = torch.from_numpy(rows).half().numpy()
        return made

    def queries(self, kind: Kind, split: str, count: int) -> np.ndarray:
        """Query vectors [count, D] float32 of norm 1, other ones for every split."""
        items = self.chunk(0).astype(np.float32)
        draw = rng(self.spec.seed, "vectors", "queries", kind, split)
        noise = draw.standard_normal((count, self.spec.dim)).astype(np.float32) / np.float32(self.spec.dim**0.5)
        if kind == "ind":
            return _unit(items[draw.integers(0, len(items), count)] + QUERY_NOISE * noise)
        chosen = draw.integers(0, len(items), (count, MOST_ITEMS))
        weights = draw.random((count, MOST_ITEMS)) * (np.arange(MOST_ITEMS) < draw.integers(1, 6, (count, 1)))
        taste = np.einsum("qi,qid->qd", weights / weights.sum(1, keepdims=True), items[chosen])
        return _unit((taste + GAP * self.gap + USER_NOISE * noise).astype(np.float32))


def _spectrum(dim: int, decay: float) -> np.ndarray:
    """Standard deviations of the axes, of norm 1."""
    weights = np.arange(1, dim + 1) ** -decay
    return weights / np.linalg.norm(weights)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows
