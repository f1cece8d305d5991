"""The catalogue as one checkpoint sees it: of each item the vector to search by and the encoding to rank by."""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.artefact import Artefact, ArtefactError
from recsys.storage import mapped
from recsys.value import require

KIND = "item_vectors"


@dataclass(frozen=True, slots=True)
class ItemVectors:
    """Item encodings in order of item index."""

    items: np.ndarray  # [n] int64, ascending
    vectors: np.ndarray  # [n, D] float32, norm 1
    hidden: np.ndarray  # [n, H] float32
    checkpoint: str  # fingerprint of the checkpoint that made them
    model: str  # fingerprint of its item tower

    @classmethod
    def load(cls, artefact: Artefact) -> ItemVectors:
        """Read all parts of an item_vectors artefact. Raises ArtefactError when parts are missing or out of order.

        The rows go to files without names below TMPDIR, so they end with the process.
        """
        parts = sorted(artefact.path.glob("part-*.parquet"))
        if not parts:
            raise ArtefactError(f"{artefact.path} holds no part-*.parquet: make it again with jobs.embed")
        total = sum(pq.read_metadata(part).num_rows for part in parts)
        items, start = np.empty(total, np.int64), 0
        widths = [pq.read_schema(parts[0]).field(name).type.list_size for name in ("vector", "hidden")]
        with TemporaryFile() as vectors, TemporaryFile() as hidden:
            for part in parts:  # one at a time: what is read is then in a file, which the system may drop from memory
                table = pq.read_table(part)
                items[start : start + len(table)] = table["item"].to_numpy()
                vectors.write(matrix(table["vector"]).data)
                hidden.write(matrix(table["hidden"]).data)
                start += len(table)
            matrices = [
                mapped(file, np.float32).reshape(total, width)
                for file, width in zip((vectors, hidden), widths, strict=True)
            ]
        if total != artefact.meta["items"] or (np.diff(items) <= 0).any():
            raise ArtefactError(
                f"{artefact.path} holds {len(items)} rows for {artefact.meta['items']} items, or not in order of item: "
                "make it again with jobs.embed"
            )
        if "model" not in artefact.meta:
            raise ArtefactError(f"{artefact.path} doesn't name its model: make it again with jobs.embed")
        made_by = artefact.meta["checkpoint"], artefact.meta["model"]
        return cls(items, matrices[0], matrices[1], *made_by)

    def by_index(self, num_items: int) -> tuple[np.ndarray, np.ndarray]:
        """Vectors [num_items, D] and encodings [num_items, H] with zeros where an item has none."""
        require(
            not len(self.items) or int(self.items[-1]) < num_items,
            f"item {int(self.items[-1]) if len(self.items) else 0} is beyond the {num_items} items of the data set; "
            "embed the catalogue again",
        )
        if len(self.items) == num_items:
            return self.vectors, self.hidden
        vectors = np.zeros((num_items, self.vectors.shape[1]), dtype=np.float32)
        hidden = np.zeros((num_items, self.hidden.shape[1]), dtype=np.float32)
        vectors[self.items], hidden[self.items] = self.vectors, self.hidden
        return vectors, hidden


def item_vectors_table(items: np.ndarray, vectors: np.ndarray, hidden: np.ndarray) -> pa.Table:
    """The rows of one part: items [n], vectors [n, D], hidden [n, H]."""
    columns = {"item": pa.array(items, pa.int32()), "vector": _lists(vectors), "hidden": _lists(hidden)}
    return pa.table(columns)


def matrix(column: pa.ChunkedArray) -> np.ndarray:
    """[n, width] float32 of a fixed-size list column."""
    width = column.type.list_size
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = np.concatenate(chunks) if chunks else np.zeros(0)
    return np.ascontiguousarray(flat.reshape(-1, width), dtype=np.float32)


def _lists(matrix: np.ndarray) -> pa.FixedSizeListArray:
    flat = pa.array(np.ascontiguousarray(matrix, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])
