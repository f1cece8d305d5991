"""Shards and a router answer as the whole index does, to the last bit and the last of equals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.artefact import opened
from recsys.index.exact import Hits
from recsys.index.preassigned import list_of_place, merged, ordered, probe_lists, search_lists, subset
from recsys.index.sharding import (
    load_router,
    load_shard,
    replaced,
    search_items,
    search_whole,
    shard_of,
    split_index,
)
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import rng
from tests.index.test_envelope import built
from tests.index.test_vector_index import unit

ITEMS, DIM = 700, 8
NOWHERE = Path("engines in memory write nothing")
IDS = np.sort(rng(0, "ids").choice(10_000, ITEMS, replace=False))
SPECS = {
    "flat": IndexSpec(kind="flat"),
    "ivf": IndexSpec(kind="ivf", lists=25, probes=3),
    "ivf by L2": IndexSpec(kind="ivf", lists=25, probes=3, metric="l2"),
    "flat by L2": IndexSpec(kind="flat", metric="l2"),
}


def whole(name: str, twins: bool = False) -> VectorIndex:
    vectors = unit(ITEMS, DIM)
    return VectorIndex.build(vectors[np.arange(ITEMS) % 90] if twins else vectors, IDS, SPECS[name])


def together(index: VectorIndex, shards: int, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> Hits:
    """What a router does, without processes."""
    number = shard_of(index.ids, shards)
    places = [np.flatnonzero(number == shard) for shard in range(shards)]
    parts = [VectorIndex(subset(index.engine, held, NOWHERE), index.ids[held], index.metric) for held in places]
    lists = probe_lists(index.engine, queries)
    found = merged([search_items(part, queries, k, lists, allowed) for part in parts], k)
    short = np.flatnonzero(found.ids[:, -1] < 0)
    every = probe_lists(index.engine, queries[short], index.lists)
    again = (
        merged([search_items(part, queries[short], k, every, allowed) for part in parts], k) if len(short) else found
    )
    return replaced(found, short, again) if len(short) else found


@pytest.mark.parametrize("shards", [1, 2, 3])
@pytest.mark.parametrize("name", list(SPECS))
@pytest.mark.parametrize("twins", [False, True])
def test_shards_answer_as_the_whole(name: str, shards: int, twins: bool) -> None:
    index, random = whole(name, twins), rng(0, "masks")
    for size, k, share in ((1, 10, 1.0), (33, 50, 1.0), (20, 40, 0.3), (5, 30, 0.01)):
        queries = unit(size, DIM, "users")
        allowed = None if share == 1.0 else random.random(9000) < share  # ids beyond the mask aren't allowed
        expected = search_whole(index, queries, k, allowed)
        found = together(index, shards, queries, k, allowed)
        assert np.array_equal(found.ids, expected.ids)
        assert np.array_equal(found.scores, expected.scores)
        if share < 0.05:
            may = set(IDS[(IDS < 9000) & allowed[np.minimum(IDS, 8999)]].tolist()) if allowed is not None else set()
            assert all(set(row[row >= 0].tolist()) == may for row in found.ids)


@pytest.mark.parametrize("name", list(SPECS))
def test_the_whole_is_searched_as_the_index_searches(name: str) -> None:
    index, queries = whole(name), unit(40, DIM, "users")
    ours, theirs = search_whole(index, queries, 20), index.search(queries, 20)
    assert np.array_equal(ours.ids, theirs.ids)
    assert np.array_equal(ours.scores, theirs.scores)


@pytest.mark.parametrize("name", list(SPECS))
def test_of_equals_the_lower_comes_first_and_stays(name: str) -> None:
    index = whole(name, twins=True)
    queries = unit(10, DIM, "users")
    every = probe_lists(index.engine, queries, index.lists)
    everything = index.engine.search(queries, ITEMS, probes=index.lists)
    for k in (1, 7, 13, 100):
        found = search_lists(index.engine, queries, k, every)
        for row in range(len(queries)):
            order = np.lexsort((everything.ids[row], -everything.scores[row]))[:k]
            assert np.array_equal(found.ids[row], everything.ids[row][order])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 10), st.integers(1, 4))
def test_merging_is_sorting(scores: list[int], k: int, parts: int) -> None:
    held, ids = np.array(scores, np.float32), np.arange(len(scores))
    split = [Hits(ids[ids % parts == part][None], held[ids % parts == part][None]).widened(40) for part in range(parts)]
    best = sorted(range(len(scores)), key=lambda item: (-scores[item], item))[:k]
    found = merged([ordered(part, k) for part in split], k)
    assert found.ids[0].tolist() == (best + [-1] * k)[:k]


def test_a_subset_keeps_lists_and_rows() -> None:
    index = whole("ivf")
    places = np.arange(0, ITEMS, 3)
    part = subset(index.engine, places, NOWHERE)
    assert np.array_equal(part.rows(np.arange(len(places))), index.engine.rows(places))
    assert np.array_equal(list_of_place(part), list_of_place(index.engine)[places])  # type: ignore[arg-type]


def test_hashes_spread_items_and_stay() -> None:
    number = shard_of(np.arange(30_000), 3)
    assert np.abs(np.bincount(number) - 10_000).max() < 400
    assert np.array_equal(number[5:9], shard_of(np.arange(5, 9), 3))
    assert number[:50].tolist() == [xxhash.xxh3_64_intdigest(str(item).encode()) % 3 for item in range(50)]
    assert shard_of(np.arange(6), 4).tolist() == [shard_of(np.array([item]), 4)[0] for item in range(6)]


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_split_indexes_are_artefacts(tmp_path: Path, kind: str) -> None:
    index = built(tmp_path, kind)
    artefact = split_index(index, 3, tmp_path / "shards")
    parts = [load_shard(artefact, shard) for shard in range(3)]
    router, golden = load_router(artefact)
    held = np.concatenate([part.ids for part in parts])
    assert len(router) == 0
    assert sorted(held.tolist()) == sorted(np.load(index.path / "ids.npy").tolist())
    lists = probe_lists(router.engine, golden.queries)
    golden.compare(merged([search_items(part, golden.queries, 10, lists) for part in parts], 10), artefact.path)
    assert opened(tmp_path / "shards", "index_shards").meta["model"] == "tower-aaaa"
    with pytest.raises(ValueError, match="has shards 0 to 2, not 3"):
        load_shard(artefact, 3)
    with pytest.raises(ValueError, match="shards must be at least 1, got 0"):
        split_index(index, 0, tmp_path / "none")


def test_an_engine_that_cant_is_told() -> None:
    with pytest.raises(
        ValueError, match="object can't search given lists: build the index with index.kind=flat or ivf"
    ):
        subset(object(), np.arange(2), NOWHERE)  # type: ignore[arg-type]
