"""faiss scans packed lists where they lie in a mapped file; many processes share one copy, and nothing is loaded."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsys.index.codec import LEVELS, Codec
from recsys.index.faiss_parts import faiss, metric_type
from recsys.index.packing import BLOCK, Layout
from recsys.index.spec import Metric
from recsys.index.tree import Tree


@dataclass(frozen=True, slots=True)
class MappedIndex:
    """An index of faiss with the parts of it that it doesn't own: they live as long as this does."""

    index: Any
    parts: tuple[Any, ...]


def mapped_index(path: Path, layout: Layout, tree: Tree, codec: Codec, metric: Metric) -> MappedIndex:
    """An IndexIVFPQFastScan over lists.bin.

    faiss's OnDiskInvertedLists has blocks of codes followed by ids, with room for `capacity` items: what FastScan reads
    is the same. Its own merge_ondisk refuses FastScan (faiss issue 2407), and IndexIVFPQFastScan.merge_from corrupts the
    heap in 1.15.1, so the file is made by packing.py.
    """
    centres, lists = np.ascontiguousarray(tree.centres), len(tree)
    dim = centres.shape[1]
    quantiser = faiss.IndexFlat(dim, metric_type(metric))
    quantiser.add(centres)
    index = faiss.IndexIVFPQFastScan(quantiser, dim, lists, codec.parts, 4, metric_type(metric), BLOCK)
    index.by_residual = True
    assert codec.centres.shape[:2] == (index.pq.M, LEVELS)
    faiss.copy_array_to_vector(np.ascontiguousarray(codec.centres).ravel(), index.pq.centroids)
    index.is_trained, index.ntotal = True, int(layout.sizes.sum())
    if metric == "l2":
        index.precompute_table()
    held = _on_disk(path, layout)
    index.replace_invlists(held, False)
    return MappedIndex(index, (quantiser, held))


def _on_disk(path: Path, layout: Layout) -> Any:
    held = faiss.OnDiskInvertedLists()
    held.nlist, held.code_size = len(layout.sizes), layout.code_size
    held.filename, held.totsize, held.read_only = str(path), int(layout.offsets[-1]), True
    held.lists.resize(len(layout.sizes))
    # a list is three size_t: its size, its capacity, where it begins; SWIG's `at` returns a copy of it
    address = int(held.lists.data().this)
    table = np.ctypeslib.as_array((ctypes.c_uint64 * (3 * len(layout.sizes))).from_address(address))
    table[:] = np.stack([layout.sizes, layout.capacities, layout.offsets[:-1]], 1).ravel()
    if held.totsize:
        held.do_mmap()
    return held
