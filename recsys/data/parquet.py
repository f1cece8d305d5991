"""Anybody's own tables, by paths and a map of column names."""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.dataset as pads

from recsys import schema
from recsys.artefact import fingerprint_of
from recsys.data.clean import clean_entities, clean_events
from recsys.data.spec import DAY, Task
from recsys.data.tables import Roles, Tables
from recsys.storage import filesystem
from recsys.value import value

MOST_CATEGORIES = 0.5  # a text column with more distinct values per row than this is text, not a category
LEAST_SHARE, MOST_SHARE = 0.005, 0.6  # an event type this common is worth a task of its own


@value
class ParquetTables:
    """Events, optional items and users, as Parquet (a file, a folder, a URI) or CSV.

    `columns` maps the schema's names to yours, e.g. {user: CustomerID, item: StockCode, time: InvoiceDate}; `context`
    takes a list. Item and user columns are found by themselves: numbers are numeric, repeating strings categorical,
    other strings text. Types in `impression_types` are exposures; other types become tasks where they are common.
    """

    events: str
    items: str | None = None
    users: str | None = None
    columns: dict[str, Any] | None = None
    item_columns: dict[str, Any] | None = None
    user_columns: dict[str, Any] | None = None
    impression_types: tuple[str, ...] = ("impression", "shown", "view_item_list")
    attribution_days: float = 1.0

    def sources(self) -> Mapping[str, str]:
        """Size and time of every file: what a dataset was made from."""
        return {uri: _stamp(uri) for uri in (self.events, self.items, self.users) if uri}

    def __call__(self) -> Tables:
        names = {key: held for key, held in (self.columns or {}).items() if held is not None}
        context = tuple(_as_list(names.pop("context", ())))
        unknown = sorted(set(names) - {column.name for column in schema.EVENTS})
        if unknown:
            known = ", ".join([*(column.name for column in schema.EVENTS), "context"])
            raise schema.SchemaError(f"data.columns: unknown names {unknown}; the schema's are {known}")
        events, aside = self._events(names, context)
        items, items_aside = self._entity("item", self.items, {**names, **(self.item_columns or {})})
        users, users_aside = self._entity("user", self.users, {**names, **(self.user_columns or {})})
        shown, taken = self._impressions(events)
        taken, tasks, labels = _tasks(taken, shown is not None)
        found = {"item": _roles(items, "item"), "user": _roles(users, "user")}
        roles = Roles(
            item_categorical=found["item"]["categorical"],
            item_numeric=found["item"]["numeric"],
            item_text="text" if items is not None and "text" in items.column_names else None,
            user_categorical=found["user"]["categorical"],
            user_numeric=found["user"]["numeric"],
            context=context,
            affinity=found["item"]["categorical"][:2],
            labels=labels,
            tasks=tasks,
        )
        return Tables(
            name="parquet",
            events=taken,
            items=items,
            users=users,
            impressions=shown,
            quarantine=pa.concat_tables([aside, items_aside, users_aside]),
            roles=roles,
            splits=None,
            attribution_days=self.attribution_days,
            sources=self.sources(),
        )

    def _events(self, names: dict[str, str], context: tuple[str, ...]) -> tuple[pa.Table, pa.Table]:
        raw = read(self.events)
        schema.require_columns(raw, schema.EVENTS, names, self.events)
        missing = [held for held in (*names.values(), *context) if held not in raw.column_names]
        if missing:
            raise schema.SchemaError(f"{self.events}: no columns {missing}; found: {', '.join(raw.column_names)}")
        columns, originals = {}, {}
        for column in schema.EVENTS:
            name = names.get(column.name, column.name)
            if name in raw.column_names:
                originals[column.name] = raw[name]
                columns[column.name] = _converted(raw[name], column.kind, name, self.events)
        columns |= {name: schema.ids(raw[name]) for name in context}
        return clean_events(pa.table(columns), originals)

    def _entity(self, kind: str, uri: str | None, names: dict[str, Any]) -> tuple[pa.Table | None, pa.Table]:
        from recsys.data.tables import QUARANTINE

        if uri is None:
            return None, QUARANTINE.empty_table()
        raw = read(uri)
        wanted = schema.ITEMS if kind == "item" else schema.USERS
        own = {kind: names[kind]} if kind in names and names[kind] in raw.column_names else {}
        schema.require_columns(raw, wanted, own, uri)
        id_name = own.get(kind, kind)
        columns = {kind: schema.ids(raw[id_name])}
        texts = []
        for name in raw.column_names:
            if name == id_name:
                continue
            role = column_role(raw[name])
            if role == "numeric":
                columns[_plain(name)] = schema.numbers(raw[name], name, uri)
            elif role == "categorical":
                columns[_plain(name)] = schema.ids(raw[name])
            if role != "numeric" and pa.types.is_string(schema.ids(raw[name]).type):
                texts.append(pc.fill_null(schema.ids(raw[name]), ""))
        if kind == "item" and texts:
            columns["text"] = pc.utf8_lower(pc.binary_join_element_wise(*texts, " / "))
        return clean_entities(pa.table(columns), kind)

    def _impressions(self, events: pa.Table) -> tuple[pa.Table | None, pa.Table]:
        """Exposures apart from what was taken; taken says whether the user took the item within the attribution."""
        if "type" not in events.column_names:
            return None, events
        is_shown = pc.fill_null(pc.is_in(events["type"], pa.array(self.impression_types)), False)
        shown, taken = events.filter(is_shown), events.filter(pc.invert(is_shown))
        if not len(shown):
            return None, events
        ones = pa.array(np.ones(len(shown)))
        empty = pa.nulls(len(shown), pa.string())
        columns = {name: shown[name] for name in ("user", "item", "time")}
        for name in ("surface", "position"):
            columns[name] = shown[name].cast(pa.string()) if name in shown.column_names else empty
        columns |= {"taken": pa.array(_attributed(shown, taken, self.attribution_days)), "keep": ones}
        return pa.table(columns), taken


def _attributed(shown: pa.Table, taken: pa.Table, days: float) -> np.ndarray:
    """1 where the same user took the same item within the window after it was shown."""
    later = taken.group_by(["user", "item"]).aggregate([("time", "list")])
    times = {(row["user"], row["item"]): np.sort(row["time_list"]) for row in later.to_pylist()}
    label = np.zeros(len(shown))
    rows = zip(shown["user"].to_pylist(), shown["item"].to_pylist(), shown["time"].to_pylist(), strict=True)
    for place, (user, item, time) in enumerate(rows):
        held = times.get((user, item))
        if held is not None:
            next_one = np.searchsorted(held, time)
            label[place] = next_one < len(held) and held[next_one] < time + days * DAY
    return label


def _tasks(events: pa.Table, has_impressions: bool) -> tuple[pa.Table, tuple[Task, ...], dict[str, str]]:
    """Engage always; purchase on impressions; a task per common type, and the value where it varies."""
    tasks = [Task(name="engage")]
    labels: dict[str, str] = {}
    if has_impressions:
        tasks.append(Task(name="purchase", on="impressions"))
    if "type" in events.column_names:
        for row in pc.value_counts(pc.drop_null(events["type"])).to_pylist():
            name = f"type_{_plain(row['values'])}"
            if LEAST_SHARE <= row["counts"] / len(events) <= MOST_SHARE:
                mark = pc.fill_null(pc.equal(events["type"], row["values"]), False).cast(pa.float64())
                events = events.append_column(name, mark)
                tasks.append(Task(name=name, on="taken"))
                labels[name] = name
    if "value" in events.column_names and pc.count_distinct(events["value"]).as_py() > 1:
        low = pc.min(events["value"]).as_py()
        worth = pc.log1p(events["value"]) if low >= 0 else events["value"]
        events = events.append_column("worth", worth)
        tasks.append(Task(name="worth", kind="regression", on="taken"))
        labels["worth"] = "worth"
    return events, tuple(tasks), labels


def read(uri: str) -> pa.Table:
    """A Parquet file, a folder of them, or a CSV file. Raises FileNotFoundError or SchemaError naming it."""
    held, path = filesystem(uri)
    try:
        if path.endswith((".csv", ".csv.gz")):
            with held.open_input_stream(path) as stream:
                return pacsv.read_csv(stream)
        return pads.dataset(path, filesystem=held, format="parquet").to_table()
    except FileNotFoundError:
        raise FileNotFoundError(f"{uri} doesn't exist: give the path or URI of a Parquet or CSV file") from None
    except pa.ArrowInvalid as error:
        raise schema.SchemaError(f"{uri} can't be read as Parquet or CSV: {error}") from None


def column_role(column: pa.ChunkedArray) -> str:
    """numeric, categorical, text, or none for times and nested columns."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_boolean(kind):
        return "categorical"
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        few = pa.types.is_integer(kind) and pc.count_distinct(column).as_py() <= 50
        return "categorical" if few else "numeric"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "categorical" if pc.count_distinct(column).as_py() <= max(2, MOST_CATEGORIES * len(column)) else "text"
    return "none"


def _roles(table: pa.Table | None, kind: str) -> dict[str, tuple[str, ...]]:
    roles: dict[str, tuple[str, ...]] = {"categorical": (), "numeric": ()}
    if table is None:
        return roles
    for name in table.column_names:
        if name not in (kind, "text"):
            role = "numeric" if pa.types.is_floating(table[name].type) else "categorical"
            roles[role] = (*roles[role], name)
    return roles


def _converted(column: pa.ChunkedArray, kind: schema.Kind, name: str, file: str) -> pa.ChunkedArray:
    if kind == "time":
        return schema.seconds(column, name, file)
    return schema.numbers(column, name, file) if kind == "number" and name != "position" else schema.ids(column)


def _as_list(held: Any) -> list[str]:
    return [held] if isinstance(held, str) else list(held or ())


def _plain(name: str) -> str:
    """An identifier from any column name."""
    plain = re.sub(r"\W+", "_", name.strip()).strip("_").lower()
    return plain if plain and not plain[0].isdigit() else f"c_{plain}"


def _stamp(uri: str) -> str:
    held, path = filesystem(uri)
    info = held.get_file_info(path)
    return fingerprint_of(info.size, str(info.mtime))
