"""What is remembered of people and items: ids, events, features as of a time, popularity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from recsys.batch import Batch, Jagged
from recsys.data.features import Events, FeatureStore
from recsys.data.spec import FIRST, PADDING, UNKNOWN, DatasetSpec
from recsys.funnel.names import Places, Strings
from recsys.funnel.popularity import Popularity
from recsys.funnel.request import Asked
from recsys.value import require


@dataclass(frozen=True, slots=True)
class Directory:
    """The data set's own ids and their vocabulary indices, both ways."""

    item_ids: Sequence[str]  # [V], by index
    texts: Sequence[str]  # [V]
    items: Mapping[str, int]
    users: Mapping[str, int]
    surfaces: Mapping[str, int]

    @classmethod
    def load(cls, dataset: Path) -> Directory:
        surfaces = pq.read_table(dataset / "vocabulary.parquet", filters=[("column", "=", "context.surface")])
        item_ids = Strings(dataset / "items.parquet", "item_id")
        return cls(
            item_ids=item_ids,
            texts=Strings(dataset / "items.parquet", "text"),
            items=Places(item_ids, FIRST),
            users=Places(Strings(dataset / "users.parquet", "user_id"), FIRST),
            surfaces=dict(zip(surfaces["value"].to_pylist(), surfaces["index"].to_pylist(), strict=True)),
        )


class Records:
    """The events of a data set, read as of any time: nothing at or after that time has any influence."""

    def __init__(self, dataset: Path, spec: DatasetSpec) -> None:
        names = ["user", "item", "time", *spec.context]
        events = pq.read_table(dataset / "events.parquet", columns=names)
        column = {name: events[name].to_numpy() for name in names}
        self.spec = spec
        self.directory = Directory.load(dataset)
        held = Events(column["user"].astype(np.int64), column["item"].astype(np.int64), column["time"].astype(np.int64))
        self.store = FeatureStore(held, _affinities(dataset, spec), spec.num_items)
        require(
            self.store.names == spec.features,
            f"the data set was prepared with features {spec.features}, this code computes {self.store.names}; "
            "prepare the data and train again",
        )
        context = np.stack([column[name] for name in spec.context], axis=1)
        self._context = context[self.store.users.order]  # [n, C], in the order of the users' timeline
        self.popularity = Popularity(held.item, held.time, column["surface"])

    def seen(self, asked: Asked) -> list[np.ndarray]:
        """Distinct items of each user's past, most frequent first."""
        return [self.store.seen(int(user), int(time)) for user, time in zip(asked.user, asked.time, strict=True)]

    def batch(self, asked: Asked) -> Batch:
        """The users as of their request times, with nothing to rank yet; item indices of histories are oldest first."""
        size, tasks = len(asked), len(self.spec.tasks)
        items, ages, offsets = self.store.history(asked.user, asked.time, self.spec.max_history)
        offsets = torch.from_numpy(offsets)
        history = Jagged(torch.from_numpy(items.astype(np.int64)), offsets)
        nothing = Jagged(torch.zeros(0, dtype=torch.int64), torch.zeros(size + 1, dtype=torch.int64))
        return Batch(
            request=torch.arange(size),
            user=torch.from_numpy(asked.user),
            time=torch.from_numpy(asked.time),
            context=torch.from_numpy(self.context(asked)),
            history=history,
            history_age=torch.from_numpy(ages),
            positives=nothing,
            rows=nothing,
            row_context=torch.zeros((0, 2), dtype=torch.int64),
            row_features=torch.zeros((0, len(self.spec.features))),
            labels=torch.zeros((0, tasks)),
            row_weight=torch.zeros(0),
        )

    def context(self, asked: Asked) -> np.ndarray:
        """[B, C]: that of the user's last event before the request, with the surface that the request tells."""
        start, stop = self.store.users.slice_before(asked.user, asked.time, 1)
        found = np.full((len(asked), len(self.spec.context)), UNKNOWN, dtype=np.int64)
        any_before = stop > start
        found[any_before] = self._context[stop[any_before] - 1]
        found[:, 0] = np.where(asked.surface != PADDING, asked.surface, found[:, 0])
        return found


def _affinities(dataset: Path, spec: DatasetSpec) -> dict[str, np.ndarray]:
    """The item categories that the features of the data set count a user's events in."""
    names = [name for name in spec.item_categorical if f"affinity_{name}_count" in spec.features]
    table = pq.read_table(dataset / "items.parquet", columns=names) if names else None
    return {name: table[name].to_numpy() for name in names} if table is not None else {}
