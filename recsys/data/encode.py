"""Raw tables as arrays of vocabulary indices."""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.features import Events
from recsys.data.spec import FIRST
from recsys.data.split import Boundaries
from recsys.data.tables import Tables
from recsys.data.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Encoded:
    """Events sorted by (user, time, item), and the item and user tables in vocabulary order."""

    vocabularies: Mapping[str, Vocabulary]
    cardinality: Mapping[str, int]
    events: Events
    context: np.ndarray  # [n, C] int32, surface first
    labels: np.ndarray  # [n, L] float32
    label_names: tuple[str, ...]
    item_categorical: Mapping[str, np.ndarray]
    item_numeric: Mapping[str, np.ndarray]
    user_categorical: Mapping[str, np.ndarray]
    user_numeric: Mapping[str, np.ndarray]
    item_texts: list[str]

    @property
    def num_items(self) -> int:
        return self.cardinality["item"]

    @property
    def num_users(self) -> int:
        return self.cardinality["user"]

    def write(self, folder: Path, boundaries: Boundaries) -> None:
        """items.parquet, users.parquet, events.parquet and vocabulary.parquet."""
        part = boundaries.part(self.events.user, self.events.time)
        items = self._entity("item", self.events.item, part, self.item_categorical, self.item_numeric)
        pq.write_table(items.append_column("text", pa.array(self.item_texts)), folder / "items.parquet")
        users = self._entity("user", self.events.user, part, self.user_categorical, self.user_numeric)
        pq.write_table(users, folder / "users.parquet")
        columns: dict[str, Any] = {
            "user": self.events.user.astype(np.int32),
            "item": self.events.item.astype(np.int32),
            "time": self.events.time,
            "split": part,
        }
        names = [name for name in self.vocabularies if name.startswith("context.") and name != "context.position"]
        columns |= {name.removeprefix("context."): self.context[:, place] for place, name in enumerate(names)}
        columns |= {name: self.labels[:, place] for place, name in enumerate(self.label_names)}
        pq.write_table(pa.table(columns), folder / "events.parquet")
        pq.write_table(pa.concat_tables([v.table() for v in self.vocabularies.values()]), folder / "vocabulary.parquet")

    def counts(self, boundaries: Boundaries) -> dict[str, Any]:
        """What there is, for the manifest and the report."""
        part = boundaries.part(self.events.user, self.events.time)
        old = part == 0
        tested = part == 2
        pairs = self.events.user.astype(np.int64) * self.num_items + self.events.item
        return {
            "events": len(part),
            "events.train": int(old.sum()),
            "events.validation": int((part == 1).sum()),
            "events.test": int(tested.sum()),
            "users": len(np.unique(self.events.user)),
            "items": self.num_items - FIRST,
            "items.with_events": len(np.unique(self.events.item)),
            "items.new_in_test": len(np.setdiff1d(self.events.item[tested], self.events.item[~tested])),
            "users.new_in_test": len(np.setdiff1d(self.events.user[tested], self.events.user[~tested])),
            "repeat_share_of_test": round(float(np.isin(pairs[tested], pairs[~tested]).mean()), 4)
            if tested.any()
            else 0.0,
        }

    def _entity(
        self, kind: str, of: np.ndarray, part: np.ndarray, categorical: Mapping[str, Any], numeric: Mapping[str, Any]
    ) -> pa.Table:
        size = self.cardinality[kind]
        ids = [None, None, *self.vocabularies[kind].values.to_pylist()]
        first = np.full(size, -1, np.int64)
        order = np.argsort(-self.events.time, kind="stable")
        first[of[order]] = self.events.time[order]
        train = np.bincount(of[part == 0], minlength=size).astype(np.int64)
        columns: dict[str, Any] = {f"{kind}_id": pa.array(ids, pa.string())}
        columns |= {name: held.astype(np.int32) for name, held in categorical.items()}
        columns |= {name: held.astype(np.float32) for name, held in numeric.items()}
        return pa.table(columns | {"train_count": train, "first_seen": first})


def encode_tables(tables: Tables, validation_start: int) -> Encoded:
    """Build the vocabularies from train and encode all; the order of events is by user, time, item."""
    roles, events = tables.roles, tables.events
    is_train = pc.less(events["time"], validation_start)
    vocabularies = {
        kind: _entity_vocabulary(kind, events, is_train, held)
        for kind, held in (("item", tables.items), ("user", tables.users))
    }
    for name in ("surface", *roles.context):
        vocabularies[f"context.{name}"] = _context_vocabulary(name, tables, is_train)
    vocabularies["context.position"] = _context_vocabulary("position", tables, is_train)
    entities = {
        "item": _columns(vocabularies, "item", tables.items, roles.item_categorical, roles.item_numeric),
        "user": _columns(vocabularies, "user", tables.users, roles.user_categorical, roles.user_numeric),
    }
    user, item = (vocabularies[kind].encode(events[kind]) for kind in ("user", "item"))
    time = events["time"].to_numpy()
    order = np.lexsort((item, time, user))
    context = [
        _context_codes(vocabularies[f"context.{name}"], name, events)[order] for name in ("surface", *roles.context)
    ]
    labels = [events[name].cast(pa.float32()).to_numpy()[order] for name in roles.labels]
    return Encoded(
        vocabularies=vocabularies,
        cardinality={name: len(held) for name, held in vocabularies.items()},
        events=Events(user[order].astype(np.int64), item[order].astype(np.int64), time[order]),
        context=np.stack(context, axis=1),
        labels=np.stack(labels, axis=1) if labels else np.zeros((len(order), 0), np.float32),
        label_names=tuple(roles.labels),
        item_categorical=entities["item"][0],
        item_numeric=entities["item"][1],
        user_categorical=entities["user"][0],
        user_numeric=entities["user"][1],
        item_texts=_texts(vocabularies["item"], tables),
    )


def _entity_vocabulary(kind: str, events: pa.Table, is_train: Any, table: pa.Table | None) -> Vocabulary:
    known = [events[kind], *([table[kind]] if table is not None else [])]
    return Vocabulary.build(kind, events[kind].filter(is_train), known)


def _context_vocabulary(name: str, tables: Tables, is_train: Any) -> Vocabulary:
    train = pa.array([], pa.string())
    if name in tables.events.column_names:
        train = tables.events[name].filter(is_train).cast(pa.string())
    shown = tables.impressions
    known = [shown[name].cast(pa.string())] if shown is not None and name in shown.column_names else []
    return Vocabulary.build(f"context.{name}", train, known)


def _context_codes(vocabulary: Vocabulary, name: str, events: pa.Table) -> np.ndarray:
    if name not in events.column_names:
        return np.ones(len(events), np.int32)
    return vocabulary.encode(events[name])


def _columns(
    vocabularies: dict[str, Vocabulary], kind: str, table: pa.Table | None, categorical: Any, numeric: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Columns of an entity table in vocabulary order; entities without a row are unknown, numbers 0 after scaling."""
    ids = vocabularies[kind]
    size = len(ids)
    place = ids.encode(table[kind]) if table is not None else np.zeros(0, np.int32)
    found: dict[str, np.ndarray] = {}
    scaled: dict[str, np.ndarray] = {}
    for name in categorical:
        assert table is not None
        held = vocabularies[f"{kind}.{name}"] = Vocabulary.build(f"{kind}.{name}", table[name])
        codes = np.ones(size, np.int32)
        codes[place] = held.encode(table[name])
        codes[0] = 0
        found[name] = codes
    for name in numeric:
        assert table is not None
        numbers = np.full(size, np.nan)
        numbers[place] = table[name].cast(pa.float64()).to_numpy()
        numbers[~np.isfinite(numbers)] = np.nan
        deviation = np.nanstd(numbers) if np.isfinite(numbers).any() else 1.0
        mean = np.nanmean(numbers) if np.isfinite(numbers).any() else 0.0
        scaled[name] = np.nan_to_num((numbers - mean) / (deviation or 1.0)).astype(np.float32)
    return found, scaled


def _texts(ids: Vocabulary, tables: Tables) -> list[str]:
    texts = [""] * len(ids)
    if tables.items is None or tables.roles.item_text is None:
        return texts
    for place, text in zip(
        ids.encode(tables.items["item"]), tables.items[tables.roles.item_text].to_pylist(), strict=True
    ):
        if place >= FIRST:
            texts[place] = text or ""
    return texts
