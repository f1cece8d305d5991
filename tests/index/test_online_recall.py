"""The recall that is told is the one that an exact search tells, and taking samples never holds a request up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.index.envelope import Golden, SealedIndex
from recsys.index.exact import Hits, exact_search
from recsys.index.online_recall import KNOWN, NEW, OnlineRecall, RecallSpec, Sample
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import rng
from tests.index.test_vector_index import unit

ITEMS, DIM, K = 900, 8, 20
HELD = np.arange(2, ITEMS, 2)  # the index holds the even items, but for the two reserved ones
VECTORS = unit(ITEMS, DIM)
EVERY = np.ones(ITEMS, dtype=bool)
PAST = [np.arange(3), np.arange(40)]
GROUPS = {"category": np.arange(ITEMS) % 7, "seller": np.arange(ITEMS) // 100}
ALL = RecallSpec(share=1.0, k=K, waiting=50)


def sealed(vectors: np.ndarray = VECTORS, ids: np.ndarray = HELD) -> SealedIndex:
    spec = IndexSpec(kind="ivf", lists=30, probes=2)
    index = VectorIndex.build(vectors[ids], ids, spec)
    return SealedIndex(index, Golden.of(index, vectors[:0], vectors[ids]), "version", "model", "checkpoint")


def test_recall_is_that_of_exact_search() -> None:
    held, random = sealed(), rng(0, "masks")
    watch = OnlineRecall(held, VECTORS, GROUPS, ALL)
    seen: list[float] = []
    for query in unit(60, DIM, "users"):
        allowed = random.random(ITEMS) < random.choice([1.0, 0.5, 0.02])
        found = held.index.search(query[None], K, allowed=allowed)
        truth = exact_search(VECTORS[HELD], HELD, query[None], K, allowed[HELD])
        kind = KNOWN if random.random() < 0.5 else NEW
        seen.append(found.recall(truth))
        assert watch.replay(Sample(query, found.ids[0], allowed, kind)) == pytest.approx(seen[-1])
    figures = watch.figures()
    assert 0.3 < np.mean(seen) < 1.0
    assert sum(figures.queries.values()) == 60
    overall = sum(figures.recall[kind] * figures.queries[kind] for kind in figures.recall) / 60
    assert overall == pytest.approx(np.mean(seen))
    found, exact = watch.lists()
    assert Hits(found, found * 0.0).recall(Hits(exact, exact * 0.0)) == pytest.approx(overall, abs=0.02)


def test_equals_stand_for_each_other() -> None:
    vectors = np.tile(VECTORS[:9], (100, 1))  # of each item the index holds 50 twins
    watch = OnlineRecall(sealed(vectors), vectors, {}, ALL)
    twins = HELD[HELD % 9 == 4]
    assert watch.replay(Sample(VECTORS[4], twins[:K], EVERY, NEW)) == 1.0
    assert watch.replay(Sample(VECTORS[4], twins[-K:], EVERY, NEW)) == 1.0
    others = np.append(twins[: K - 5], HELD[HELD % 9 == 5][:5])
    assert watch.replay(Sample(VECTORS[4], others, EVERY, NEW)) == pytest.approx(0.75)


def test_groups_are_counted_as_a_slow_loop_counts() -> None:
    held = sealed()
    watch = OnlineRecall(held, VECTORS, GROUPS, ALL)
    queries = unit(30, DIM, "users")
    found = held.index.search(queries, K).ids
    for query, ids in zip(queries, found, strict=True):
        watch.replay(Sample(query, ids, EVERY, NEW))
    figures = watch.figures()
    for name, group in {**GROUPS, "list": held.index.cells(VECTORS)}.items():
        counts = dict.fromkeys(np.unique(group[HELD]), 0) if name != "list" else dict.fromkeys(range(30), 0)
        for item in found.ravel():
            counts[group[item]] += 1
        ordered = sorted(counts.values())
        pairs = sum(abs(a - b) for a in ordered for b in ordered)
        assert figures.top_share[name] == pytest.approx(ordered[-1] / found.size)
        assert figures.gini[name] == pytest.approx(pairs / (2 * len(ordered) * sum(ordered)))


@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_the_share_that_was_asked_for_is_taken_whatever_the_batches(share: float) -> None:
    taken = []
    for size in (1, 64):
        spec = RecallSpec(share=share, k=K, waiting=100_000)
        watch = OnlineRecall(sealed(), VECTORS, {}, spec)
        query, found = np.zeros((size, DIM), np.float32), np.full((size, K), -1)
        for _ in range(6400 // size):
            watch.offer(query, found, EVERY, [np.arange(3)] * size)
        taken.append(watch._waiting.qsize())
    assert taken[0] == taken[1]
    assert abs(taken[0] - 6400 * share) <= 4 * (6400 * share * (1 - share)) ** 0.5


def test_a_full_queue_drops_and_counts_and_a_thread_empties_it() -> None:
    held = sealed()
    watch = OnlineRecall(held, VECTORS, GROUPS, replace(ALL, waiting=3))
    queries = unit(8, DIM, "users")
    found = held.index.search(queries, K).ids
    watch.offer(queries, found, EVERY, [PAST[row % 2] for row in range(8)])
    assert watch.figures().dropped == 5
    last: list[bool] = []
    watch.start(last.append)
    watch.close()
    assert watch.figures().queries == {NEW: 2, KNOWN: 1}
    assert last == [False] * 4 + [True]


def test_masks_of_each_request_are_its_own() -> None:
    held = sealed()
    watch = OnlineRecall(held, VECTORS, {}, ALL)
    queries, masks = unit(2, DIM, "users"), np.stack([EVERY, np.arange(ITEMS) < 30])
    found = held.index.search(queries, K, allowed=masks).ids
    watch.offer(queries, found, masks, PAST)
    masks[:] = False  # the caller's array is used again
    first, second = (watch._waiting.get_nowait() for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.allowed.sum(), second.allowed.sum()) == (ITEMS, 30)
    assert watch.replay(second) == 1.0


def test_stale_vectors_are_those_that_the_release_makes_otherwise() -> None:
    vectors = VECTORS.copy()
    old = HELD[: len(HELD) // 10]
    vectors[old] = unit(len(old), DIM, "older content")
    watch = OnlineRecall(sealed(vectors), VECTORS, {}, ALL)
    assert np.isnan(watch.figures().stale_share)
    stored, fresh = watch.audit()
    assert stored.shape == fresh.shape == (len(HELD), DIM)
    assert watch.figures().stale_share == pytest.approx(len(old) / len(HELD))


def test_stale_vectors_are_told_by_item_whatever_changed_since() -> None:
    """Deleted items shift places, updated and added ones have none in the layout: each is compared with its own."""
    held, old = sealed(), np.array([100, 300, ITEMS - 1])
    watch = OnlineRecall(held, VECTORS, {}, ALL)
    with pytest.warns(UserWarning, match="call compact"):
        held.index.delete(HELD[:50])
    held.index.add(VECTORS[[200, 202, 1]], np.array([200, 202, 1]))
    watch.audit()
    assert watch.figures().stale_share == 0
    held.index.add(unit(4, DIM, "older content"), np.array([*old, ITEMS + 5]))
    stored, fresh = watch.audit()
    assert len(stored) == len(held.index) - 1
    assert watch.figures().stale_share == pytest.approx(len(old) / len(fresh))


def test_spec_checks_its_ranges() -> None:
    for wrong in ({"share": 1.5}, {"share": -0.1}, {"k": 0}, {"waiting": 0}, {"out": "s3://a/b"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RecallSpec(**wrong)  # type: ignore[arg-type]
