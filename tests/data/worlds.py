"""Small shops: events with ties in time, and promotions with what was taken of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from recsys.data.encode import Encoded
from recsys.data.prepare import DataSpec, build_world
from recsys.data.requests import RequestSpec, World
from recsys.data.spec import DAY, Task
from recsys.data.split import SplitSpec
from recsys.data.tables import QUARANTINE, Roles, Tables
from recsys.random import rng
from recsys.value import value

START = 1_600_000_000
WEEK = 7 * DAY
TASKS = (
    Task(name="engage"),
    Task(name="purchase", on="impressions"),
    Task(name="multi", on="taken"),
    Task(name="spend", kind="regression", on="taken"),
)


@value
class Shop:
    """Visits of several lines at one time; with promotions, what was shown in the weeks in which a user came."""

    users: int = 60
    items: int = 150
    visits: int = 900
    days: int = 140
    promotions: bool = True
    seed: int = 0

    def sources(self) -> Mapping[str, str]:
        return {"generated": str(self)}

    def __call__(self) -> Tables:
        events = self._events()
        return Tables(
            name="shop",
            events=events,
            items=self._items(),
            users=pa.table({"user": [f"u{n}" for n in range(0, self.users, 2)], "age": ["old"] * -(-self.users // 2)}),
            impressions=self._shown(events) if self.promotions else None,
            quarantine=QUARANTINE.empty_table(),
            roles=Roles(
                item_categorical=("kind",),
                item_numeric=("price",),
                item_text="title",
                user_categorical=("age",),
                context=("store",),
                affinity=("kind",),
                labels={"multi": "multi", "spend": "spend"},
                tasks=TASKS if self.promotions else (TASKS[0], *TASKS[2:]),
            ),
            splits=None,
            attribution_days=7.0,
            sources=self.sources(),
        )

    def _events(self) -> pa.Table:
        random = rng(self.seed, "shop")
        lines = random.integers(1, 6, self.visits)
        visit = np.repeat(np.arange(self.visits), lines)
        user = random.integers(0, self.users, self.visits)[visit]
        time = START + random.integers(0, self.days * 24, self.visits)[visit] * 3600
        liked = (user * 7 + random.integers(0, 12, len(visit))) % self.items
        item = np.where(random.random(len(visit)) < 0.7, liked, random.integers(0, self.items, len(visit)))
        names = rng(self.seed, "names").permutation(10 * self.items)[: self.items]
        columns = {
            "user": [f"u{n}" for n in user],
            "item": [str(n) for n in names[item]],
            "time": time,
            "surface": random.choice(["app", "web"], self.visits)[visit],
            "store": random.choice(["s1", "s2", "s3"], self.visits)[visit],
            "multi": (random.random(len(visit)) < 0.2).astype(float),
            "spend": random.gamma(2.0, 1.0, len(visit)),
        }
        return pa.table(columns)

    def _items(self) -> pa.Table:
        names = rng(self.seed, "names").permutation(10 * self.items)[: self.items]
        every = np.arange(self.items)
        columns = {
            "item": [str(n) for n in names],
            "kind": [f"k{n % 7}" for n in every],
            "price": rng(self.seed, "prices").gamma(2.0, 5.0, self.items),
            "title": [f"thing {n} / kind {n % 7}" for n in every],
        }
        return pa.table(columns)

    def _shown(self, events: pa.Table) -> pa.Table:
        random = rng(self.seed, "shown")
        user, item, time = (events[name].to_pylist() for name in ("user", "item", "time"))
        bought: dict[tuple[str, int], set[str]] = {}
        for who, what, when in zip(user, item, time, strict=True):
            bought.setdefault((who, START + (when - START) // WEEK * WEEK), set()).add(what)
        every, rows = sorted(set(item)), []
        for (who, week), basket in sorted(bought.items()):
            offered = {every[place] for place in random.integers(0, len(every), 10)} | set(sorted(basket)[:2])
            for held in sorted(offered):
                if held in basket or random.random() < 0.5:
                    keep = 1.0 if held in basket else 0.5
                    rows.append((who, held, week, "shelf", str(random.integers(0, 3)), float(held in basket), keep))
        names = ("user", "item", "time", "surface", "position", "taken", "keep")
        return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def world_of(shop: Shop, requests: RequestSpec | None = None, split: SplitSpec | None = None) -> tuple[World, Encoded]:
    return build_world(spec_of(shop, requests, split), shop())


def spec_of(shop: Shop, requests: RequestSpec | None = None, split: SplitSpec | None = None) -> DataSpec:
    requests = requests or RequestSpec(every="week", horizon_days=14.0, max_history=10)
    return DataSpec(source=shop, requests=requests, split=split or SplitSpec(), lanes=4)
