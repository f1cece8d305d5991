"""The popular list is a sort of everything by its count of events, which nobody has to keep whole."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.spec import DAY, FIRST, PADDING
from recsys.funnel.popularity import HOUR, Popularity
from recsys.random import rng

ITEMS = 40


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 120), st.integers(1, 50), st.sampled_from([PADDING, 1, 2, 3]))
def test_the_first_allowed_are_those_of_a_full_sort(seed: int, events: int, limit: int, surface: int) -> None:
    random = rng(seed, "events")
    item, where = random.integers(0, ITEMS - 5, events), random.integers(1, 3, events)
    time, now = random.integers(0, 20 * DAY, events), 15 * DAY + 1800
    allowed = random.random(ITEMS) < 0.7
    ranking = Popularity(item, time, where).ranking(now, surface, 7.0)
    items, counts = ranking.first(allowed, limit)

    before = time < now - now % HOUR
    inside = before & (time >= now - now % HOUR - 7 * DAY)
    on_surface = inside & (where == surface) if surface != PADDING else inside
    chosen = next((mask for mask in (on_surface, inside) if mask.any()), before)
    told = Counter(item[chosen].tolist())
    everything = sorted(range(FIRST, ITEMS), key=lambda held: (-told[held], held))
    expected = [held for held in everything if allowed[held]][:limit]
    assert items.tolist() == expected
    assert counts.tolist() == [told[held] for held in expected]
