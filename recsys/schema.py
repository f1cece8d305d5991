"""What the columns of events, items and users mean, and what a table must be to be read as one of them."""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Kind = Literal["id", "time", "number", "category"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the schema."""

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    required: bool = False


EVENTS = (
    Column("user", "id", "who", required=True),
    Column("item", "id", "what was taken, or shown where type says so", required=True),
    Column("time", "time", "when", "timestamp, ISO date or epoch s / ms / us / ns; UTC", required=True),
    Column("type", "category", "kind of event, such as view, cart, purchase, impression"),
    Column("value", "number", "worth of the event, such as money or a rating"),
    Column("quantity", "number", "how many; not positive is a return", "pieces"),
    Column("surface", "category", "where it happened or was shown"),
    Column("position", "category", "place on the surface", "from 1"),
    Column("propensity", "number", "probability with which it was shown", "0 to 1"),
)
ITEMS = (Column("item", "id", "the item's id, as in events", required=True),)
USERS = (Column("user", "id", "the user's id, as in events", required=True),)


class SchemaError(ValueError):
    """A table can't be read as what it should be; the message names file, column, row, value and remedy."""


def require_columns(table: pa.Table, wanted: tuple[Column, ...], names: dict[str, str], file: str) -> None:
    """Raise SchemaError unless every required column, by its name in the file, is there."""
    for column in wanted:
        name = names.get(column.name, column.name)
        if column.required and name not in table.column_names:
            found = ", ".join(table.column_names)
            raise SchemaError(
                f"{file}: no column {name!r} for {column.name} ({column.meaning}); found: {found}. Say which column it is, "
                f"for instance 'data.columns={{{column.name}: {table.column_names[0] if table.column_names else 'NAME'}}}'"
            )


def ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as strings; whole floats, as spreadsheets and pandas make of integers with gaps, lose their '.0'."""
    if pa.types.is_floating(column.type):
        whole = pc.all(pc.equal(pc.floor(column), column), skip_nulls=True).as_py()
        numbers = pc.if_else(pc.is_finite(column), column, None)
        return numbers.cast(pa.int64()).cast(pa.string()) if whole is not False else numbers.cast(pa.string())
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = column.cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)


def numbers(column: pa.ChunkedArray, name: str, file: str) -> pa.ChunkedArray:
    """Numbers as float64. Raises SchemaError at the first value that isn't one."""
    try:
        return column.cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        for row, held in enumerate(column.to_pylist()):
            try:
                float(held if held is not None else 0)
            except (TypeError, ValueError):
                raise SchemaError(
                    f"{file}: column {name!r}, row {row}: {held!r} isn't a number; clean the column or leave it out of the map"
                ) from None
        return pa.chunked_array([pa.array([None if h is None else float(h) for h in column.to_pylist()])])


UNITS = ((1e17, 1_000_000_000), (1e14, 1_000_000), (1e11, 1_000), (0, 1))  # from the magnitude of epoch numbers


def seconds(column: pa.ChunkedArray, name: str, file: str) -> pa.ChunkedArray:
    """Times as int64 seconds since 1970, null where there is none. Raises SchemaError when none can be read."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        largest = pc.max(pc.abs(column)).as_py() or 0
        unit = next(factor for least, factor in UNITS if largest >= least)
        if pa.types.is_integer(kind):  # floats can't tell nanoseconds apart
            return pc.divide(column.cast(pa.int64()), unit)
        held = pc.if_else(pc.is_finite(column), column, None)
        return pc.floor(pc.divide(held, float(unit))).cast(pa.int64(), safe=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _parsed(column, name, file)
    raise SchemaError(
        f"{file}: column {name!r} is of type {kind}, which isn't a time; give timestamps, dates or epoch numbers"
    )


FORMATS = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d",
    "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%y %H:%M", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y %H:%M",
)  # fmt: skip


def _parsed(column: pa.ChunkedArray, name: str, file: str) -> pa.ChunkedArray:
    text = pc.replace_substring_regex(column.cast(pa.string()), r"(\.\d+)?(Z|[+]00:?00)?$", "")
    best, most = None, 0
    for form in FORMATS:
        try:
            held = pc.strptime(text, format=form, unit="s", error_is_null=True)
        except pa.ArrowInvalid:
            continue
        read = len(held) - held.null_count
        if read > most:
            best, most = held, read
    if best is None or most < len(column) / 2:
        first = next((held for held in column.to_pylist() if held), None)
        raise SchemaError(
            f"{file}: column {name!r}, value {first!r}: not a time in a known form; convert it to timestamps "
            f"(known: {', '.join(FORMATS)})"
        )
    return best.cast(pa.int64())


def markdown() -> str:
    """The schema as a table for the documentation."""
    lines = ["| table | column | meaning | unit | required |", "|---|---|---|---|---|"]
    for table, columns in (("events", EVENTS), ("items", ITEMS), ("users", USERS)):
        lines += [f"| {table} | {c.name} | {c.meaning} | {c.unit} | {'yes' if c.required else ''} |" for c in columns]
    return "\n".join(lines) + "\n"


def is_finite(column: pa.ChunkedArray) -> np.ndarray:
    return np.isfinite(column.to_numpy())
