"""A table of query vectors is answered by actors that each load the index once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from recsys.artefact import Artefact, committing, fingerprint_of, opened
from recsys.cluster.data import Columns, map_ranges
from recsys.cluster.start import ClusterSpec, connected
from recsys.index.envelope import Queries, SealedIndex
from recsys.storage import filesystem, join_uri, list_names
from recsys.value import require, value

KIND = "search_results"


@value
class BatchSearch:
    """Queries in Parquet (a file, or a folder of files), the index that answers them, and how many items each gets."""

    index_dir: str
    queries: str
    encoded_by: str  # fingerprint of the model that made the queries; the index refuses another one's
    k: int = 100
    column: str = "vector"  # the others are keys and come back beside the answers
    block: int = 4096  # queries searched in one call
    threads: int = 1  # of each actor

    def __post_init__(self) -> None:
        require(
            bool(self.index_dir and self.queries),
            "give index_dir=, an index's folder, and queries=, a Parquet file or folder",
        )
        require(
            bool(self.encoded_by), "give encoded_by=, the model of the queries: the manifest of the index names its own"
        )
        for name in ("k", "block", "threads"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")


def batch_search(spec: BatchSearch, target_uri: str | Path, cluster: ClusterSpec) -> Artefact:
    """Answer every query, in the order of the input, and commit the answers as Parquet.

    Each row has the query's keys, `ids` and `scores`, best first, shorter where the index holds fewer than k items.
    Raises ValueError for queries of another model or width, naming the file.
    """
    index = opened(spec.index_dir, "index")
    require(
        index.meta["model"] == spec.encoded_by,
        f"the queries were encoded by model {spec.encoded_by}, {spec.index_dir} holds vectors of model {index.meta['model']}; "
        "encode them with the checkpoint that the index was made for",
    )
    table = Table.of(spec.queries)
    table.check(spec.column, int(index.meta["dim"]))
    meta = {"index": index.fingerprint, "model": spec.encoded_by, "k": spec.k, "queries": table.rows}
    fingerprint = fingerprint_of(KIND, index.fingerprint, spec)
    committed = committing(target_uri, KIND, fingerprint=fingerprint, meta=meta)
    with committed as folder, tqdm(total=table.rows, unit="query") as bar:
        for place, found in enumerate(_blocks(spec, table.rows, cluster)):
            keys = table.slice(place * spec.block, len(found["ids"]), leave_out=spec.column)
            pq.write_table(_answers(keys, found), folder / f"part-{place:05d}.parquet")
            bar.update(len(keys))
    return opened(target_uri, KIND)


@dataclass(frozen=True, slots=True)
class Table:
    """Parquet files that are read by ranges of rows, across files and row groups."""

    files: tuple[str, ...]
    starts: tuple[int, ...]  # row at which each row group begins, and the number of rows
    groups: tuple[tuple[int, int], ...]  # file and number of each row group

    @classmethod
    def of(cls, uri: str) -> Table:
        """Raises ValueError when there is no Parquet file."""
        names = [name for name in list_names(uri) if name.endswith(".parquet")] if not uri.endswith(".parquet") else []
        files = tuple(join_uri(uri, name) for name in names) or ((uri,) if uri.endswith(".parquet") else ())
        require(bool(files), f"{uri} holds no .parquet file; give queries=FILE.parquet or a folder of such files")
        held = [_file(file).metadata for file in files]
        groups = [(file, group) for file, told in enumerate(held) for group in range(told.num_row_groups)]
        sizes = [held[file].row_group(group).num_rows for file, group in groups]
        return cls(files, tuple(accumulate(sizes, initial=0)), tuple(groups))

    @property
    def rows(self) -> int:
        return self.starts[-1]

    def check(self, column: str, dim: int) -> None:
        for file in self.files:
            schema = _file(file).schema_arrow
            require(column in schema.names, f"{file} has no column {column!r}; it has {schema.names}")
            held = schema.field(column).type
            floats = pa.types.is_list(held) or pa.types.is_large_list(held) or pa.types.is_fixed_size_list(held)
            require(
                floats and pa.types.is_floating(held.value_type), f"{file}: {column!r} is {held}, not lists of floats"
            )
            width = held.list_size if pa.types.is_fixed_size_list(held) else dim
            require(width == dim, f"{file}: {column!r} has {width} dimensions, the index has {dim}")

    def slice(self, start: int, count: int, *, leave_out: str | None = None) -> pa.Table:
        """Rows from `start` on."""
        parts, stop = [], min(start + count, self.rows)
        for number in range(bisect_right(self.starts, start) - 1, len(self.groups)):
            begins, ends = self.starts[number], self.starts[number + 1]
            if begins >= stop:
                break
            file, group = self.groups[number]
            held = _group(self.files[file], group, leave_out)
            parts.append(held.slice(max(0, start - begins), min(stop, ends) - max(start, begins)))
        return pa.concat_tables(parts)


def _blocks(spec: BatchSearch, rows: int, cluster: ClusterSpec) -> Iterator[Columns]:
    make = partial(searcher, spec)
    if cluster.workers == 0:
        work = make()
        for start in range(0, rows, spec.block):
            yield work(np.arange(start, min(start + spec.block, rows)))
        return
    with connected(cluster):
        yield from map_ranges(rows, spec.block, make, workers=cluster.workers, num_cpus=cluster.cpus_per_worker)


def searcher(spec: BatchSearch) -> Callable[[np.ndarray], Columns]:
    """What an actor holds: the index, and a function from places in the table to what was found."""
    sealed, table = SealedIndex.load(opened(spec.index_dir, "index"), spec.threads), Table.of(spec.queries)

    def search(places: np.ndarray) -> Columns:
        rows = table.slice(int(places[0]), len(places))[spec.column]
        vectors = _matrix(rows, sealed.index.dim, f"{spec.queries}, rows from {places[0]}")
        hits = sealed.search(Queries(vectors, sealed.checkpoint, spec.encoded_by), spec.k)
        return {"ids": hits.ids, "scores": hits.scores}

    return search


def _matrix(column: pa.ChunkedArray, dim: int, where: str) -> np.ndarray:
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    fits = column.null_count == 0 and len(flat) == len(column) * dim
    require(fits, f"{where}: every query must have {dim} numbers")
    return np.ascontiguousarray(flat.reshape(-1, dim), dtype=np.float32)


def _answers(keys: pa.Table, found: Columns) -> pa.Table:
    there = found["ids"] >= 0
    offsets = pa.array(np.append(0, there.sum(axis=1).cumsum()).astype(np.int32))
    ids, scores = (pa.ListArray.from_arrays(offsets, pa.array(found[name][there])) for name in ("ids", "scores"))
    return keys.append_column("ids", ids).append_column("scores", scores)


def _file(uri: str) -> pq.ParquetFile:
    held, path = filesystem(uri)
    return pq.ParquetFile(held.open_input_file(path))


@lru_cache(maxsize=2)
def _group(uri: str, group: int, leave_out: str | None) -> pa.Table:
    """The row group that is being walked through: blocks are smaller, and would read it again and again."""
    held = _file(uri)
    names = [name for name in held.schema_arrow.names if name != leave_out]
    return held.read_row_group(group, columns=names)
