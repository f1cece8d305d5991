"""User x item features as of a moment, from events strictly before it: the same object offline and in serving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recsys.data.spec import DAY, FIRST
from recsys.data.taste import Taste
from recsys.data.timeline import Timeline

LONG, MIDDLE, SHORT = 91 * DAY, 28 * DAY, 7 * DAY
LOG_YEAR = float(np.log1p(365.0))  # ages are divided by it, so that a year is 1
PRIOR_REPEATS = 10.0  # events of an average item added to an item's share of repeats


@dataclass(frozen=True, slots=True)
class Events:
    """Events of all users as columns of equal length; indices int, times int64 seconds."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray


class FeatureStore:
    """Timelines of users, items, pairs and categories, and the features that are read off them.

    `item_categories` maps an affinity column to the category index of every item, [V].
    """

    def __init__(self, events: Events, item_categories: Mapping[str, np.ndarray], num_items: int) -> None:
        user, item = events.user.astype(np.int64), events.item.astype(np.int64)
        self.num_items = num_items
        self.users = Timeline(user, events.time)
        self.user_items = item[self.users.order]
        self.taste = Taste(self.users, self.user_items, num_items)
        self.items = Timeline(item, events.time)
        self.pairs = Timeline(user * num_items + item, events.time)
        self.categories = dict(item_categories)
        self.widths = {name: int(held.max()) + 1 for name, held in self.categories.items()}
        self.affinity = {
            name: Timeline(user * self.widths[name] + held[item], events.time) for name, held in self.categories.items()
        }
        self._repeats(events)

    @property
    def names(self) -> tuple[str, ...]:
        pair = ["pair_count", "pair_count_28d", "pair_count_91d", "pair_recency", "pair_never", "pair_gap", "pair_due"]
        item = ["item_count_7d", "item_count_28d", "item_count_91d", "item_new_28d", "item_trend", "item_repeat_share"]
        user = ["user_count_28d", "user_recency"]
        affinity = [f"affinity_{name}_{what}" for name in self.categories for what in ("count", "share")]
        return (*pair, *item, *user, *affinity, "taste", "taste_log")

    def compute(self, user: np.ndarray, item: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Features [R, F] float32 of rows (user, item, time); all finite, roughly between -1 and 3."""
        user, item, time = user.astype(np.int64), item.astype(np.int64), time.astype(np.int64)
        recent = self._once_per_user(user, time)
        columns = [*self._pair(user, item, time), *self._item(item, time), *recent[:2]]
        for name, held in self.categories.items():
            count = self.affinity[name].count_before(user * self.widths[name] + held[item], time, LONG)
            columns += [np.log1p(count) / 3, count / np.maximum(recent[2], 1)]
        taste = np.maximum(self.taste.scores(user, item, time), 0)
        columns += [np.minimum(taste, 3), np.log1p(100 * taste) / 3]  # what is new to a user has a hundredth
        return np.stack(columns, axis=1).astype(np.float32) if len(user) else np.zeros((0, len(self.names)), np.float32)

    def history(self, user: np.ndarray, time: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The last `limit` items strictly before time, oldest first: values [n], ages in days [n], offsets [B + 1]."""
        start, stop = self.users.slice_before(user.astype(np.int64), time, limit)
        lengths = stop - start
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(start - offsets[:-1], lengths) + np.arange(offsets[-1])
        ages = (np.repeat(time, lengths) - self.users.times[places]) / DAY
        return self.user_items[places], ages.astype(np.float32), offsets

    def seen(self, user: int, time: int) -> np.ndarray:
        """Distinct items of a user strictly before time, most frequent first, among equals the most recent."""
        start, stop = self.users.slice_before(np.array([user]), np.array([time]))
        items = self.user_items[start[0] : stop[0]]
        values, last, counts = np.unique(items[::-1], return_index=True, return_counts=True)
        return values[np.lexsort((values, last, -counts))]

    def popular(self, time: int, limit: int, *, window_days: float) -> np.ndarray:
        """Items by the number of events in the window before time, most first, ties by index."""
        inside = (self.items.times < time) & (self.items.times >= time - int(window_days * DAY))
        if not inside.any():
            inside = self.items.times < time
        keys = np.repeat(self.items.keys, self.items.stops - self.items.starts)[inside]
        counts = np.bincount(keys, minlength=self.num_items)
        counts[:FIRST] = 0
        top = np.argsort(-counts, kind="stable")[:limit]
        return top[counts[top] > 0]

    def _pair(self, user: np.ndarray, item: np.ndarray, time: np.ndarray) -> list[np.ndarray]:
        keys = user * self.num_items + item
        place, known, start = self.pairs.bounds(keys)
        stop = np.maximum(self.pairs.rank(place, known, time), start)
        count = stop - start
        ever = count > 0
        in_middle = stop - np.maximum(self.pairs.rank(place, known, time - MIDDLE), start)
        in_long = stop - np.maximum(self.pairs.rank(place, known, time - LONG), start)
        times = self.pairs.times if len(self.pairs.times) else np.zeros(1, np.int64)
        last, first = times[np.maximum(stop - 1, 0)], times[np.minimum(start, len(times) - 1)]
        age = np.where(ever, (time - last) / DAY, 0.0)
        gap = np.where(count > 1, (last - first) / DAY / np.maximum(count - 1, 1), 0.0)
        due = np.where(gap > 0, np.clip(age / np.maximum(gap, 0.5), 0, 4) / 2, 0.0)
        logs = [np.log1p(count), np.log1p(in_middle), np.log1p(in_long)]
        return [*logs, np.log1p(age) / LOG_YEAR, (~ever).astype(float), np.log1p(gap) / LOG_YEAR, due]

    def _item(self, item: np.ndarray, time: np.ndarray) -> list[np.ndarray]:
        place, known, start = self.items.bounds(item)
        stop = np.maximum(self.items.rank(place, known, time), start)
        week, month, quarter = (
            stop - np.maximum(self.items.rank(place, known, time - w), start) for w in (SHORT, MIDDLE, LONG)
        )
        trend = np.log((week + 1) / (month / 4 + 1))
        repeats = self.repeats_before[stop] - self.repeats_before[start]
        share = (repeats + PRIOR_REPEATS * self.repeat_share) / (stop - start + PRIOR_REPEATS)
        fresh = np.log1p(self.newcomers.count_before(item, time, MIDDLE)) / 3
        return [np.log1p(week) / 3, np.log1p(month) / 3, np.log1p(quarter) / 3, fresh, trend, share]

    def _once_per_user(self, user: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of a request share user and time, so what depends on them alone is looked up once a run of rows."""
        if not len(user):
            return np.zeros(0), np.zeros(0), np.zeros(0)
        change = np.flatnonzero(np.append(True, (user[1:] != user[:-1]) | (time[1:] != time[:-1])))
        lengths = np.diff(np.append(change, len(user)))
        some, when = user[change], time[change]
        last = self.users.last_before(some, when)
        recency = np.where(last >= 0, np.log1p((when - last) / DAY) / LOG_YEAR, 1.0)
        month = np.log1p(self.users.count_before(some, when, MIDDLE)) / 3
        quarter = self.users.count_before(some, when, LONG)
        return np.repeat(month, lengths), np.repeat(recency, lengths), np.repeat(quarter, lengths)

    def _repeats(self, events: Events) -> None:
        """Events so far, per item in time order, that repeat an earlier event of the same user."""
        ordered = self.pairs.order
        first = np.zeros(len(ordered), bool)
        first[self.pairs.starts] = True
        repeat = np.empty(len(ordered), bool)
        repeat[ordered] = ~first
        self.newcomers = Timeline(events.item.astype(np.int64)[~repeat], events.time[~repeat])  # who takes it first
        self.repeats_before = np.concatenate([[0], np.cumsum(repeat[self.items.order])])
        # a fixed prior: the share over all events would let the future in
        self.repeat_share = 0.3
