"""Shards of a compressed index rank what each one's codes choose, so together they answer as the whole does, or better."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.artefact import Artefact, opened
from recsys.index.compressed import CompressedEngine
from recsys.index.exact import Hits, exact_search
from recsys.index.packing import Layout, pack, unpack
from recsys.index.preassigned import merged, probe_lists, subset
from recsys.index.sharding import load_router, load_shard, search_items, search_whole, split_index
from recsys.index.vector_index import VectorIndex
from recsys.random import rng
from tests.index.conftest import Compressed, N

K, SHARDS = 100, 3


@pytest.fixture(scope="module")
def split(compressed: Compressed, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return split_index(opened(compressed.folder, "index"), SHARDS, tmp_path_factory.mktemp("split") / "shards")


def together(split: Artefact, queries: np.ndarray, allowed: np.ndarray | None = None, refine: float = 0.0) -> Hits:
    router, _ = load_router(split)
    lists = probe_lists(router.engine, queries)
    parts = [ranking(load_shard(split, shard), refine) for shard in range(SHARDS)]
    return merged([search_items(part, queries, K, lists, allowed) for part in parts], K)


def ranking(index: VectorIndex, refine: float) -> VectorIndex:
    """With so many candidates ranked by bytes, times k."""
    assert isinstance(index.engine, CompressedEngine)
    if refine:
        index.engine.choices = replace(index.engine.choices, refine=refine)
    return index


def test_each_item_is_in_one_shard_and_the_router_holds_none(split: Artefact) -> None:
    parts = [load_shard(split, shard) for shard in range(SHARDS)]
    assert np.array_equal(np.sort(np.concatenate([part.ids for part in parts])), np.arange(N))
    router, golden = load_router(split)
    assert (len(router), router.kind, router.dim) == (0, "compressed", 64)
    lists = probe_lists(router.engine, golden.queries)
    golden.compare(merged([search_items(part, golden.queries, 10, lists) for part in parts], 10), split.path)


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_shards_answer_as_the_whole_or_better(compressed: Compressed, split: Artefact, share: float) -> None:
    queries = compressed.shop.users[1::2]
    allowed = None if share == 1 else rng(0, "shards").random(N) < share
    whole, found = search_whole(compressed.opened(), queries, K, allowed), together(split, queries, allowed)
    assert (found.scores >= whole.scores - 1e-6).all()
    truth = exact_search(compressed.shop.items, np.arange(N), queries, K, allowed)
    assert found.recall(truth) >= whole.recall(truth)
    assert all(len(set(row)) == K for row in found.ids.tolist())
    if allowed is not None:
        assert allowed[found.ids].all()


def test_where_all_candidates_are_ranked_the_answers_are_the_same_to_the_bit(
    compressed: Compressed, split: Artefact
) -> None:
    queries = compressed.shop.users[1:40:2]
    whole = search_whole(ranking(compressed.opened(), 400.0), queries, K)
    found = together(split, queries, refine=400.0)
    assert np.array_equal(found.ids, whole.ids)
    assert np.array_equal(found.scores, whole.scores)


def test_a_subset_keeps_rows_and_lists(compressed: Compressed, tmp_path: Path) -> None:
    engine = compressed.opened().engine
    places = np.arange(5, N, 7)
    part = subset(engine, places, tmp_path)
    assert np.array_equal(part.rows(np.arange(len(places))), engine.rows(places))
    assert isinstance(engine, CompressedEngine)
    assert isinstance(part, CompressedEngine)
    assert np.array_equal(part.order, engine.order[places])
    own = [np.repeat(np.arange(held.lists), held.layout.sizes) for held in (part, engine)]
    assert np.array_equal(own[0], own[1][places])


def test_codes_are_unpacked_as_they_were_packed() -> None:
    draw, sizes = rng(0, "codes"), np.array([0, 1, 31, 32, 33, 100, 0], np.int64)
    codes, layout = draw.integers(0, 256, (int(sizes.sum()), 6), dtype=np.uint8), Layout(sizes, 6)
    blocks, again = np.zeros(int(layout.offsets[-1]), np.uint8), np.empty_like(codes)
    pack(codes, sizes, layout.offsets, 0, blocks)
    unpack(blocks, sizes, layout.offsets, again)
    assert np.array_equal(again, codes)
