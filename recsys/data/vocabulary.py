"""From the user's own ids and categories to indices, and back."""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.spec import FIRST, UNKNOWN

SCHEMA = pa.schema([("column", pa.string()), ("value", pa.string()), ("index", pa.int32()), ("count", pa.int64())])


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The values of one column: index 0 is padding, 1 unknown, then by falling train count, ties by value."""

    column: str
    values: pa.Array  # value of index FIRST + i
    counts: np.ndarray  # train count, likewise

    @classmethod
    def build(
        cls, column: str, train: pa.ChunkedArray | pa.Array, known: Sequence[pa.Array | pa.ChunkedArray] = ()
    ) -> Vocabulary:
        """From a train column; values that stand only in `known` (an item table, later splits) follow with count 0."""
        counted = pc.value_counts(pc.drop_null(train))
        if isinstance(counted, pa.ChunkedArray):
            counted = counted.combine_chunks()
        values, counts = counted.field(0).cast(pa.string()), counted.field(1)
        for other in known:
            fresh = pc.unique(pc.drop_null(other)).cast(pa.string())
            fresh = fresh.filter(pc.invert(pc.is_in(fresh, values)))
            values = pa.concat_arrays([values, fresh])
            counts = pa.concat_arrays([counts, pa.array(np.zeros(len(fresh), np.int64))])
        table = pa.table({"value": values, "count": counts})
        table = table.sort_by([("count", "descending"), ("value", "ascending")])
        return cls(column, table["value"].combine_chunks(), table["count"].to_numpy())

    def __len__(self) -> int:
        return FIRST + len(self.values)

    def encode(self, values: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Indices int32; null and unheard-of values are unknown."""
        found = pc.index_in(values.cast(pa.string()), value_set=self.values)
        return (pc.fill_null(found, UNKNOWN - FIRST).to_numpy(zero_copy_only=False) + FIRST).astype(np.int32)

    def decode(self, indices: np.ndarray) -> list[str | None]:
        if not len(self.values):
            return [None] * len(indices)
        held = self.values.take(pa.array(np.maximum(indices - FIRST, 0))).to_pylist()
        return [value if index >= FIRST else None for value, index in zip(held, indices, strict=True)]

    def table(self) -> pa.Table:
        size = len(self.values)
        index = np.arange(FIRST, FIRST + size, dtype=np.int32)
        return pa.table([pa.array([self.column] * size, pa.string()), self.values, index, self.counts], schema=SCHEMA)
