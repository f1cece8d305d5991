"""Request rows: from Arrow tables to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from recsys.batch import Batch, Jagged
from recsys.data.spec import DatasetSpec
from recsys.value import require

FLAT = ("request", "user", "time")
LISTS = ("context", "history", "history_age", "positives")
ROWS = ("row_item", "row_surface", "row_position", "row_features", "row_labels", "row_weight")


@dataclass(frozen=True, slots=True)
class Lists:
    """A list column: row i is values[offsets[i]:offsets[i + 1]]."""

    offsets: np.ndarray  # [n + 1]
    values: np.ndarray

    @classmethod
    def of(cls, name: str, column: pa.ChunkedArray) -> Lists:
        """A view of a column of one chunk, sliced or not. Raises ValueError when it holds a null."""
        array = column.chunk(0)
        offsets = array.offsets.to_numpy()
        values = array.values.slice(offsets[0], offsets[-1] - offsets[0])
        require(
            array.null_count + values.null_count == 0, f"request column {name!r} holds nulls: write empty lists or NaN"
        )
        return cls(offsets - offsets[0], values.to_numpy())

    def rows(self, start: int, stop: int) -> np.ndarray:
        return self.values[self.offsets[start] : self.offsets[stop]]


@dataclass(frozen=True, slots=True)
class Requests:
    """Rows of a request log as arrays that share the table's memory."""

    flat: dict[str, np.ndarray]
    lists: dict[str, Lists]

    @classmethod
    def of(cls, table: pa.Table, spec: DatasetSpec) -> Requests:
        """Raises ValueError when a column is missing, holds nulls, or has other widths than the dataset says."""
        missing = {*FLAT, *LISTS, *ROWS} - set(table.column_names)
        require(not missing, f"the request log lacks the columns {sorted(missing)}: prepare the data again")
        table = table.combine_chunks() if table.num_rows else table.schema.empty_table().combine_chunks()
        for name in FLAT:
            require(table[name].null_count == 0, f"request column {name!r} holds nulls: leave such rows out")
        flat = {name: table[name].to_numpy() for name in FLAT}
        if not len(table):
            return cls(flat, {})
        lists = {name: Lists.of(name, table[name]) for name in (*LISTS, *ROWS)}
        rows, each = lists["row_item"].offsets, np.arange(len(table) + 1)
        widths = dict.fromkeys(ROWS, (rows, 1))
        widths |= {"row_features": (rows, len(spec.features)), "row_labels": (rows, len(spec.tasks))}
        widths |= {"context": (each, len(spec.context)), "history_age": (lists["history"].offsets, 1)}
        for name, (offsets, width) in widths.items():
            fits = np.array_equal(lists[name].offsets, offsets * width)
            require(
                fits,
                f"lists of request column {name!r} aren't {width} wide as the dataset says: prepare the data again",
            )
        return cls(flat, lists)

    def __len__(self) -> int:
        return len(self.flat["request"])


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows in a row of a window."""

    window: Requests
    start: int
    stop: int


def batch_of(pieces: Sequence[Piece], spec: DatasetSpec) -> Batch:
    """Pieces one after the other as one batch; its tensors share no memory with them. No pieces give an empty batch."""
    pieces = [piece for piece in pieces if piece.stop > piece.start]
    items = _jagged(pieces, "row_item")
    places = [_values(pieces, name, np.int64) for name in ("row_surface", "row_position")]
    return Batch(
        request=_flat(pieces, "request"),
        user=_flat(pieces, "user"),
        time=_flat(pieces, "time"),
        context=_values(pieces, "context", np.int64).reshape(-1, len(spec.context)),
        history=_jagged(pieces, "history"),
        history_age=_values(pieces, "history_age", np.float32),
        positives=_jagged(pieces, "positives"),
        rows=items,
        row_context=torch.stack(places, dim=1),
        row_features=_values(pieces, "row_features", np.float32).reshape(len(items.values), len(spec.features)),
        labels=_values(pieces, "row_labels", np.float32).reshape(len(items.values), len(spec.tasks)),
        row_weight=_values(pieces, "row_weight", np.float32),
    )


def _flat(pieces: Sequence[Piece], name: str) -> Tensor:
    held = [piece.window.flat[name][piece.start : piece.stop] for piece in pieces]
    return torch.from_numpy(_joined(held, np.int64))


def _values(pieces: Sequence[Piece], name: str, dtype: type) -> Tensor:
    return torch.from_numpy(
        _joined([piece.window.lists[name].rows(piece.start, piece.stop) for piece in pieces], dtype)
    )


def _jagged(pieces: Sequence[Piece], name: str) -> Jagged:
    """Offsets of the pieces, each moved to where the one before ended."""
    offsets, end = [np.zeros(1, np.int64)], 0
    for piece in pieces:
        held = piece.window.lists[name].offsets[piece.start : piece.stop + 1]
        offsets.append(np.add(held[1:], end - int(held[0]), dtype=np.int64))
        end += int(held[-1]) - int(held[0])
    return Jagged(_values(pieces, name, np.int64), torch.from_numpy(_joined(offsets, np.int64)))


def _joined(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    """One copy, converted on the way."""
    return np.concatenate(arrays, dtype=dtype, casting="same_kind") if arrays else np.zeros(0, dtype)


def reordered(table: pa.Table, order: np.ndarray) -> pa.Table:
    """table.take(order), faster for columns of lists: those of equal or proportional lengths share their places."""
    table = table.combine_chunks()
    known = [(np.arange(len(table) + 1), order)]  # (offsets, places of the values in the new order)
    columns = []
    for name in table.column_names:
        if pa.types.is_list(table[name].type) and len(table):
            columns.append(_reordered(Lists.of(name, table[name]), order, known))
        else:
            columns.append(table[name].take(pa.array(order)))
    return pa.table(columns, schema=table.schema)


def _reordered(lists: Lists, order: np.ndarray, known: list[tuple[np.ndarray, np.ndarray]]) -> pa.ListArray:
    lengths = np.diff(lists.offsets)[order]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    width, places = _shared(lists.offsets, known)
    if places is None:
        places = np.repeat(lists.offsets[:-1][order] - offsets[:-1], lengths) + np.arange(offsets[-1])
        known.append((lists.offsets, places))
    values = lists.values if width == 1 else lists.values.reshape(-1, width)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values.take(places, axis=0).ravel()))


def _shared(offsets: np.ndarray, known: list[tuple[np.ndarray, np.ndarray]]) -> tuple[int, np.ndarray | None]:
    """The places of lists that are `width` times as long as known ones; none when there are no such lists."""
    for others, places in known:
        width = int(offsets[-1] // max(others[-1], 1))
        if width and np.array_equal(others * width, offsets):
            return width, places
    return 1, None
