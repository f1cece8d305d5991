"""What is found again, what isn't, and what goes first."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from recsys.encoders.query_cache import QueryCache, normalised
from recsys.random import rng

ONE = torch.ones(1)


def test_case_and_spaces_are_folded_and_order_stays() -> None:
    assert normalised("  Red \t DRESS ") == "red dress"
    cache = QueryCache(4)
    cache.put("Red dress", ONE, 0.0)
    assert cache.get("red  DRESS", 1.0) is ONE
    assert cache.get("dress red", 1.0) is None
    assert (cache.hits, cache.misses) == (1, 1)


def test_entries_of_another_version_and_old_ones_are_never_found() -> None:
    cache = QueryCache(4, seconds_to_live=10.0, version="encoder 1, index 7")
    cache.put("a", ONE, 0.0)
    assert cache.get("a", 9.9) is ONE
    assert cache.get("a", 10.0) is None
    cache.put("a", ONE, 20.0)
    cache.version = "encoder 1, index 8"
    assert cache.get("a", 21.0) is None
    cache.version = "encoder 1, index 7"
    assert cache.get("a", 21.0) is ONE


@pytest.mark.parametrize("capacity", [1, 3, 10])
def test_the_least_recently_used_goes_first(capacity: int) -> None:
    cache, slow = QueryCache(capacity), OrderedDict()
    for now, number in enumerate(rng(0, "asked").integers(12, size=300)):
        text = f"q{number}"
        assert (cache.get(text, now) is not None) == (text in slow)
        slow.pop(text, None)
        slow[text] = None
        if len(slow) > capacity:
            slow.popitem(last=False)
        cache.put(text, ONE, now)
        assert len(cache) == len(slow) <= capacity


def test_settings_that_mean_nothing_are_named() -> None:
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        QueryCache(0)
