"""The items nearest to a query are found among normalised vectors by inner product, exactly or by inverted lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import faiss as _faiss
import numpy as np

from recsys.index.exact import Hits, exact_search
from recsys.value import require, value

faiss: Any = _faiss  # its stubs know only the C++ signatures, not what the Python wrappers accept

NORM_TOLERANCE = 1e-3
TRAIN_POINTS_PER_LIST = 64
INDEX_FILE, IDS_FILE = "index.faiss", "ids.npy"


@value
class IndexSpec:
    """How items are laid out for search: a scan of all of them, or lists of which a query visits the nearest few."""

    kind: Literal["auto", "flat", "ivf"] = "auto"
    flat_limit: int = 50_000  # auto takes lists above this many items
    lists: int | None = None  # None: about four times the square root of the number of items
    probes: int | None = None  # lists visited by a query; None: few that reach recall_target on sample queries
    recall_target: float = 0.98
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.flat_limit >= 0, f"flat_limit must be 0 or more, got {self.flat_limit}")
        require(self.lists is None or self.lists > 0, f"lists must be positive or null, got {self.lists}")
        require(self.probes is None or self.probes > 0, f"probes must be positive or null, got {self.probes}")
        require(0 < self.recall_target <= 1, f"recall_target must be in (0, 1], got {self.recall_target}")
        require(self.threads > 0, f"threads must be positive, got {self.threads}")

    def kind_for(self, num_items: int) -> Literal["flat", "ivf"]:
        if self.kind != "auto":
            return self.kind
        return "flat" if num_items <= self.flat_limit else "ivf"

    def lists_for(self, num_items: int) -> int:
        wanted = self.lists or round(4 * num_items**0.5)
        return max(1, min(wanted, num_items))


class VectorIndex:
    """A searchable set of unit vectors with the item id of each; it doesn't change after it is built."""

    def __init__(self, index: Any, ids: np.ndarray, threads: int = 1) -> None:
        self._index = index
        self.ids = ids  # [n] int64
        self.threads = threads

    @classmethod
    def build(
        cls, vectors: np.ndarray, ids: np.ndarray | None, spec: IndexSpec, queries: np.ndarray | None = None
    ) -> VectorIndex:
        """Index `vectors` [n, D] float32 of norm 1 under `ids` [n] (default 0..n-1).

        `queries` [Q, D] are used to choose the number of probes when the spec leaves it open. Raises ValueError for
        values that are not finite, other norms, other dtypes and ids that are negative or given twice.
        """
        vectors = checked_vectors(vectors, "vectors")
        ids = np.arange(len(vectors)) if ids is None else ids
        ids = _checked_ids(ids, len(vectors))
        faiss.omp_set_num_threads(spec.threads)
        if spec.kind_for(len(vectors)) == "flat":
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(vectors)
            return cls(index, ids, spec.threads)
        built = cls(_inverted_lists(vectors, spec), ids, spec.threads)
        built._index.nprobe = spec.probes or built._fewest_probes(vectors, queries, spec.recall_target)
        return built

    def save(self, folder: Path) -> None:
        """Write index.faiss and ids.npy into an existing folder."""
        faiss.write_index(self._index, str(folder / INDEX_FILE))
        np.save(folder / IDS_FILE, self.ids)

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> VectorIndex:
        """Read what `save` wrote; the files' checksums are the artefact's business and must have been verified."""
        index = faiss.read_index(str(folder / INDEX_FILE))
        if not isinstance(index, (faiss.IndexFlat, faiss.IndexIVFFlat)):
            raise ValueError(
                f"{folder / INDEX_FILE} holds a {type(index).__name__}; build the index again with jobs.index"
            )
        ids = np.load(folder / IDS_FILE, allow_pickle=False)
        require(len(ids) == index.ntotal, f"{folder}: {len(ids)} ids for {index.ntotal} vectors; build the index again")
        return cls(index, ids, threads)

    def __len__(self) -> int:
        return self._index.ntotal

    @property
    def dim(self) -> int:
        return self._index.d

    @property
    def kind(self) -> Literal["flat", "ivf"]:
        return "ivf" if isinstance(self._index, faiss.IndexIVF) else "flat"

    @property
    def lists(self) -> int:
        return self._index.nlist if self.kind == "ivf" else 1

    @property
    def probes(self) -> int:
        return min(self._index.nprobe, self.lists) if self.kind == "ivf" else 1

    @property
    def products_a_query(self) -> float:
        """Inner products that one search takes: of the lists' centres, and of the items in the lists visited."""
        return float(len(self)) if self.kind == "flat" else self.lists + len(self) * self.probes / self.lists

    def cells(self, vectors: np.ndarray) -> np.ndarray:
        """[n] int64 inverted list that each vector [n, D] belongs to; 0 of an index without lists."""
        vectors = checked_vectors(vectors, "vectors")
        if self.kind == "flat":
            return np.zeros(len(vectors), dtype=np.int64)
        return self._index.quantizer.search(vectors, 1)[1][:, 0]

    def search(self, queries: np.ndarray, k: int, *, allowed: np.ndarray | None = None) -> Hits:
        """The k nearest allowed items of each query [B, D], best first.

        `allowed` is a mask over item ids, one for all queries [V] or one for each [B, V]; ids beyond it are not
        allowed. Exactly min(k, allowed items) are found for each query: when the visited lists hold fewer, all lists
        are scanned. Raises ValueError for queries of another width, dtype or norm, and for k below 1.
        """
        queries = checked_vectors(queries, "queries")
        require(queries.shape[1] == self.dim, f"queries have {queries.shape[1]} dimensions, the index has {self.dim}")
        require(k >= 1, f"k must be at least 1, got {k}")
        faiss.omp_set_num_threads(self.threads)  # the setting belongs to the calling thread
        if allowed is None:
            return self._search(queries, k, None)
        mask = self._places_allowed(allowed, len(queries))
        if mask.ndim == 1:
            return self._search(queries, k, mask)
        found = [self._search(queries[row : row + 1], k, mask[row]) for row in range(len(queries))]
        width = max((hits.ids.shape[1] for hits in found), default=0)
        return Hits.stack([hits.widened(width) for hits in found], width)

    def _search(self, queries: np.ndarray, k: int, mask: np.ndarray | None) -> Hits:
        possible = len(self) if mask is None else int(np.count_nonzero(mask))
        k = min(k, possible)
        if k == 0:
            return Hits.empty(len(queries), 0)
        bits = None if mask is None else np.packbits(mask, bitorder="little")
        scores, places = self._index.search(queries, k, params=self._parameters(bits, self.probes))
        short = np.flatnonzero(places[:, -1] < 0)
        if len(short):
            everything = self._parameters(bits, self.lists)
            scores[short], places[short] = self._index.search(queries[short], k, params=everything)
        return Hits(ids=self.ids[places], scores=scores)

    def _parameters(self, bits: np.ndarray | None, probes: int) -> Any:
        selector = None if bits is None else faiss.IDSelectorBitmap(bits)
        if self.kind == "ivf":
            return faiss.SearchParametersIVF(sel=selector, nprobe=probes)
        return None if selector is None else faiss.SearchParameters(sel=selector)

    def _places_allowed(self, allowed: np.ndarray, num_queries: int) -> np.ndarray:
        require(allowed.dtype == bool, f"allowed must be a mask of booleans, got {allowed.dtype}")
        shapes = f"[{num_queries}, V] or [V]"
        require(
            allowed.ndim == 1 or (allowed.ndim == 2 and len(allowed) == num_queries),
            f"allowed must be {shapes}, got {allowed.shape}",
        )
        width = allowed.shape[-1]
        if len(self) and self.ids.max() >= width:
            allowed = np.concatenate([allowed, np.zeros((*allowed.shape[:-1], 1), dtype=bool)], axis=-1)
        return allowed[..., np.minimum(self.ids, width)]

    def _fewest_probes(self, vectors: np.ndarray, queries: np.ndarray | None, target: float) -> int:
        sample = vectors[:: max(1, len(vectors) // 256)] if queries is None else checked_vectors(queries, "queries")
        k = min(100, len(vectors))
        truth = exact_search(vectors, self.ids, sample, k)
        probes = 1
        while probes < self.lists:
            # without completion by a full scan: too few items in the visited lists count as missed
            scores, places = self._index.search(sample, k, params=self._parameters(None, probes))
            if Hits(ids=np.where(places < 0, -1, self.ids[places]), scores=scores).recall(truth) >= target:
                return probes
            probes = max(probes + 1, round(probes * 1.25))
        return self.lists


def checked_vectors(vectors: np.ndarray, what: str) -> np.ndarray:
    """Vectors as contiguous float32 [n, D]; raises ValueError naming the first row that is not a unit vector."""
    vectors = np.asarray(vectors)
    require(vectors.ndim == 2 and vectors.shape[1] > 0, f"{what} must be [n, D], got shape {vectors.shape}")
    require(vectors.dtype == np.float32, f"{what} must be float32, got {vectors.dtype}; convert them with .astype")
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))  # NaN compares false, so it is caught here too
    if len(wrong):
        raise ValueError(
            f"{what}: row {wrong[0]} has norm {norms[wrong[0]]:.4g}; normalise vectors to norm 1 ({len(wrong)} rows)"
        )
    return np.ascontiguousarray(vectors)


def _checked_ids(ids: np.ndarray, expected: int) -> np.ndarray:
    ids = np.asarray(ids)
    require(ids.shape == (expected,), f"ids must be [{expected}], one for each vector, got shape {ids.shape}")
    require(np.issubdtype(ids.dtype, np.integer), f"ids must be integers, got {ids.dtype}")
    ids = ids.astype(np.int64)
    require(not len(ids) or ids.min() >= 0, f"ids must be 0 or more, got {ids.min() if len(ids) else 0}")
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"id {values[counts > 1][0]} is given {counts.max()} times; every item has one vector")
    return ids


def _inverted_lists(vectors: np.ndarray, spec: IndexSpec) -> Any:
    """Inverted lists around spherical k-means centroids, as inner products of unit vectors ask for."""
    lists, dim = spec.lists_for(len(vectors)), vectors.shape[1]
    index = faiss.index_factory(dim, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical, index.cp.seed = True, spec.seed
    index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = TRAIN_POINTS_PER_LIST, 1
    index.train(vectors)
    index.add(vectors)
    return index
