"""Hundreds of millions of vectors are searched in three steps: 4-bit codes choose, bytes rank, half floats settle the best."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys.index.codec import Codec
from recsys.index.encoding import SIZES, TAIL
from recsys.index.exact import Hits
from recsys.index.faiss_parts import faiss, selector
from recsys.index.mapped_lists import MappedIndex, mapped_index
from recsys.index.packed_subset import write_subset
from recsys.index.packing import LISTS_FILE, ORDER_FILE, ROWS_FILE, Layout, mapped
from recsys.index.priced import padded
from recsys.index.probing import Prober
from recsys.index.refine import Refiner
from recsys.index.row_file import Rows, few_rows
from recsys.index.running_top import best_of, similarity
from recsys.index.spec import Metric
from recsys.index.tree import Tree
from recsys.storage import write_file
from recsys.value import require, value

CHOICES_FILE = "choices.json"
TREE_FILE, CODEC_FILE = "tree.npz", "codec.npz"
FILES = (LISTS_FILE, ROWS_FILE, ORDER_FILE, SIZES, TREE_FILE, CODEC_FILE, CHOICES_FILE)


@value
class Choices:
    """How a compressed index is searched unless told otherwise."""

    metric: Metric
    probes: int
    refine: float = 2.0  # candidates ranked by bytes, times k
    tail: str | None = None  # half floats of all rows: tail.npy in order of place, or a path, in order of the source
    tail_rows: int = 200  # ranked by half floats, and at least k

    def __post_init__(self) -> None:
        require(self.probes >= 1, f"probes must be at least 1, got {self.probes}")
        require(self.refine >= 1, f"refine must be at least 1, got {self.refine}")

    def save(self, folder: Path) -> None:
        held = {name: getattr(self, name) for name in ("metric", "probes", "refine", "tail", "tail_rows")}
        write_file(folder / CHOICES_FILE, json.dumps(held, indent=1).encode())


@dataclass(slots=True)
class CompressedEngine:
    """Places are in order of list, so that a place tells its list and a list's rows lie side by side."""

    folder: Path
    choices: Choices
    layout: Layout
    tree: Tree
    prober: Prober
    refiner: Refiner
    tail: Rows | None  # [n, D] float16
    order: np.ndarray  # [n] uint32 row of the source at each place, mapped
    orders: Rows  # the same, for a few places
    scanned: MappedIndex
    threads: int = 1

    @classmethod
    def load(cls, folder: Path, threads: int = 1, tail: str | None = None) -> CompressedEngine:
        """Map what the build wrote: nothing but the tree and the codec is copied into memory.

        `tail` is another file of half floats than the choices name. Raises ValueError when one that is named is missing.
        """
        choices = Choices(**json.loads((folder / CHOICES_FILE).read_bytes()))
        choices = choices if tail is None else replace(choices, tail=tail)
        tree, codec = Tree.load(folder), Codec.load(folder)
        layout = Layout(np.load(folder / SIZES, allow_pickle=False), codec.code_size)
        centres = tree.centres
        total, dim = int(layout.sizes.sum()), centres.shape[1]
        rows = mapped(folder / ROWS_FILE, np.uint8, (-1, dim), scattered=True)
        order = mapped(folder / ORDER_FILE, np.uint32, (-1,), scattered=True)
        require(len(rows) == len(order) == total, f"{folder} has {len(rows)} rows of {total}: build the index again")
        refiner = Refiner(rows, layout.starts, centres, codec, choices.metric)
        lists = mapped_index(folder / LISTS_FILE, layout, tree, codec, choices.metric)
        prober = Prober.of(tree, choices.metric)
        halves, orders = _tail(folder, choices), few_rows(folder / ORDER_FILE, order)
        return cls(folder, choices, layout, tree, prober, refiner, halves, order, orders, lists, threads)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def dim(self) -> int:
        return self.tree.leaves.shape[1] + (self.tree.prior is not None)

    @property
    def lists(self) -> int:
        return len(self.tree)

    @property
    def probes(self) -> int:
        return min(self.choices.probes, self.lists)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        probes: int | None = None,
        allowed: np.ndarray | None = None,
        refine: float | None = None,
        tail: int | None = None,
    ) -> Hits:
        """As `Engine.search`; `refine` and `tail` (rows ranked by half floats, 0: none) override the choices of the build."""
        queries = padded(np.ascontiguousarray(queries, np.float32), self._width)
        chosen, _bits = selector(allowed)
        rows = 0 if self.tail is None else self.choices.tail_rows if tail is None else tail
        request = Request(min(k, len(self)), probes or self.probes, refine or self.choices.refine, rows, chosen)
        if self.threads == 1 or len(queries) < 2 * self.threads:
            return self._search(queries, request)
        parts = np.array_split(queries, self.threads)
        with ThreadPoolExecutor(self.threads) as pool:
            found = list(pool.map(lambda part: self._search(part, request), parts))
        return Hits.stack(found, request.k)

    def probe_lists(self, queries: np.ndarray, probes: int) -> np.ndarray:
        """[B, probes] int64, ascending."""
        return self.prober.probes(padded(queries, self._width), probes)[0]

    def search_lists(self, queries: np.ndarray, k: int, lists: np.ndarray, allowed: np.ndarray | None) -> Hits:
        """As `search` in the lists [B, P], ascending, whatever chose them."""
        queries, (chosen, _bits) = padded(np.ascontiguousarray(queries, np.float32), self._width), selector(allowed)
        rows = 0 if self.tail is None else self.choices.tail_rows
        request = Request(min(k, len(self)), lists.shape[1], self.choices.refine, rows, chosen)
        return self._in_lists(queries, request, lists, self.prober.distances(queries, lists))

    def subset(self, places: np.ndarray, folder: Path) -> CompressedEngine:
        """An engine of these places [m], ascending, whose files go into an existing folder."""
        write_subset(self.folder, self.layout, self._width, places, folder)
        for name in (TREE_FILE, CODEC_FILE):
            linked(self.folder / name, folder / name)
        self.choices.save(folder)
        return CompressedEngine.load(folder, self.threads)

    @property
    def _width(self) -> int:
        """Of the vectors that are kept: the tree's, and those of a prior."""
        return self.refiner.centres.shape[1]

    def _search(self, queries: np.ndarray, request: Request) -> Hits:
        return self._in_lists(queries, request, *self.prober.probes(queries, request.probes))

    def _in_lists(self, queries: np.ndarray, request: Request, lists: np.ndarray, coarse: np.ndarray) -> Hits:
        candidates = min(int(np.ceil(request.k * request.refine)), len(self))
        places = self._scan(queries, candidates, lists, coarse, request.selector)
        if not request.tail:
            return Hits(*self.refiner.rank(queries, places, lists, coarse, request.k))
        keep = max(request.k, request.tail)
        places, _ = self.refiner.rank(queries, places, lists, coarse, keep)
        return self._settled(queries, places, request.k)

    def _scan(self, queries: np.ndarray, count: int, lists: np.ndarray, coarse: np.ndarray, chosen: Any) -> np.ndarray:
        """[B, count] places that 4-bit codes choose from the lists, -1 where there are fewer."""
        faiss.omp_set_num_threads(1)  # the setting belongs to the calling thread
        scores, places = np.empty((len(queries), count), np.float32), np.empty((len(queries), count), np.int64)
        parameters = faiss.SearchParametersIVF(sel=chosen, nprobe=lists.shape[1])
        pointers = map(faiss.swig_ptr, (lists, coarse, scores, places))
        self.scanned.index.search_preassigned_c(
            len(queries), faiss.swig_ptr(queries), count, *pointers, False, parameters
        )
        return places

    def _settled(self, queries: np.ndarray, places: np.ndarray, k: int) -> Hits:
        assert self.tail is not None
        held = self._in_tail(places)
        scores = np.empty(places.shape, np.float32)
        for query in range(len(queries)):
            rows = self.tail[held[query]].astype(np.float32)
            scores[query] = similarity(queries[query : query + 1], rows, self.choices.metric)[0]
        scores[places < 0] = -np.inf
        return best_of(places, scores, k)

    def rows(self, places: np.ndarray) -> np.ndarray:
        if self.tail is None:
            return self.refiner.reconstructed(places)[:, : self.dim]
        return self.tail[self._in_tail(places)][:, : self.dim].astype(np.float32)

    def source_rows(self, places: np.ndarray) -> np.ndarray:
        """Int64 rows of the source at these places, -1 where a place is -1."""
        return np.where(places < 0, -1, self.orders[places].astype(np.int64))

    def _in_tail(self, places: np.ndarray) -> np.ndarray:
        return places if self.choices.tail == TAIL else self.source_rows(places)

    def cells(self, vectors: np.ndarray) -> np.ndarray:
        return self.tree.assign(vectors).astype(np.int64)

    def save(self, folder: Path) -> None:
        for name in (*FILES, *([TAIL] if self.choices.tail == TAIL else [])):
            linked(self.folder / name, folder / name)


@dataclass(frozen=True, slots=True)
class Request:
    k: int
    probes: int
    refine: float
    tail: int
    selector: Any


def linked(source: Path, target: Path) -> None:
    """The same file at another path, or a copy of it on another filesystem."""
    if source.resolve() == target.resolve():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _tail(folder: Path, choices: Choices) -> Rows | None:
    if choices.tail is None:
        return None
    path = folder / choices.tail
    require(path.is_file(), f"{path} is missing, by which {folder} ranks its best: build the index with tail=copy")
    return few_rows(path, np.load(path, mmap_mode="r", allow_pickle=False))
