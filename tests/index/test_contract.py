"""What an index promises, a compressed one keeps too: filters, a prior's weight, changes in the next search, compaction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recsys.fingerprint import file_sha256
from recsys.index.compressed import CHOICES_FILE, FILES
from recsys.index.exact import Hits, exact_search
from recsys.index.in_force import InForce
from recsys.index.inverted import widened
from recsys.index.masks import among, between
from recsys.index.source import MatrixSource, Source
from recsys.index.traits import Traits
from recsys.index.tuning import STRENGTHS
from recsys.index.vector_index import VectorIndex
from recsys.random import rng
from tests.index.conftest import Compressed, N
from tests.index.shop import unit_rows

K = 100
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
Build = Callable[[Source, Traits, np.ndarray, Path], VectorIndex]


@pytest.fixture(scope="module")
def index(compressed: Compressed) -> VectorIndex:
    return compressed.opened()


def exact(compressed: Compressed, queries: np.ndarray, weight: float, mask: np.ndarray | None = None) -> Hits:
    items = np.concatenate([compressed.shop.items, compressed.shop.popularity[:, None]], axis=1)
    asked = np.concatenate([queries, np.full((len(queries), 1), weight, np.float32)], axis=1)
    return exact_search(items, np.arange(N), asked, K, mask)


def masks(compressed: Compressed, where: str, share: float) -> np.ndarray:
    """[N] about this share of the items: a bitmap, clusters as categories, or a range of nearness to the users."""
    world, draw = compressed.shop, rng(0, "contract", where, str(share))
    if where == "bitmap":
        return draw.random(N) < share
    if where == "range":
        nearness = world.items @ world.users[1:80:2].mean(0)
        return between(nearness, high=float(np.quantile(nearness, share)))
    order = draw.permutation(world.cluster.max() + 1)
    reached = np.cumsum(np.bincount(world.cluster)[order]) >= share * N
    return among(world.cluster, order[: int(np.argmax(reached)) + 1].tolist())


@pytest.mark.parametrize("where", ["bitmap", "category", "range"])
@pytest.mark.parametrize("share", SHARES)
def test_filters_find_exactly_what_is_allowed(
    compressed: Compressed, index: VectorIndex, where: str, share: float
) -> None:
    queries, mask = compressed.shop.users[1:80:2], masks(compressed, where, share)
    hits = index.search(queries, K, allowed=mask)
    assert hits.ids.shape == (len(queries), min(K, mask.sum()))
    assert mask[hits.ids].all()
    assert all(len(set(row)) == len(row) for row in hits.ids.tolist())
    free = index.search(queries, K).recall(exact(compressed, queries, 0))
    assert hits.recall(exact(compressed, queries, 0, mask)) >= 0.9 * free


@pytest.mark.parametrize("strength", [*STRENGTHS, 0.02, 0.08, 1.0])
def test_a_prior_of_any_strength(compressed: Compressed, index: VectorIndex, strength: float) -> None:
    queries = compressed.shop.users[1::2]
    hits = index.search(queries, K, prior_weight=strength)
    assert hits.recall(exact(compressed, queries, strength)) >= 0.95
    assert all(len(set(row)) == K for row in hits.ids.tolist())
    own = np.einsum("bd,bkd->bk", queries, compressed.shop.items[hits.ids])
    off = np.abs(hits.scores - own - strength * compressed.shop.popularity[hits.ids])
    assert off.mean() < 0.002  # what bytes cost, of scores near .5; a residual beyond their span costs more
    assert off.max() < 0.05


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_a_prior_under_a_filter(compressed: Compressed, index: VectorIndex, share: float) -> None:
    queries, mask = compressed.shop.users[1:80:2], masks(compressed, "bitmap", share)
    hits = index.search(queries, K, allowed=mask, prior_weight=0.06)
    assert mask[hits.ids].all()
    assert hits.ids.shape[1] == K
    assert hits.recall(exact(compressed, queries, 0.06, mask)) >= 0.9


def test_caps_of_sellers_hold(compressed: Compressed, index: VectorIndex) -> None:
    hits = index.search(compressed.shop.users[1:40:2], K, caps={"seller": 2})
    for row in hits.ids:
        assert np.bincount(row % 97).max() <= 2


@pytest.fixture
def changed(compressed: Compressed) -> tuple[VectorIndex, np.ndarray, np.ndarray]:
    """An index with items deleted, updated and added; the updated ids, and the vectors of these and the added ones."""
    index, world = compressed.opened(), compressed.shop
    index.delete(np.arange(0, 2000, 5))
    fresh = unit_rows(world.users[1:81] + 0.05 * rng(0, "fresh").standard_normal((80, world.users.shape[1])))
    ids = np.concatenate([np.arange(5001, 5061), np.arange(N, N + 20)])
    index.add(fresh, ids, Traits(np.ones(80), {"seller": np.zeros(80, np.int64)}))
    return index, ids, fresh


def test_changes_are_in_the_next_search(
    compressed: Compressed, changed: tuple[VectorIndex, np.ndarray, np.ndarray]
) -> None:
    index, ids, fresh = changed
    assert index.search(fresh, 1).ids[:, 0].tolist() == ids.tolist()
    gone = np.arange(0, 2000, 5)
    hits = index.search(compressed.shop.items[gone], 10)
    assert not np.isin(hits.ids, gone).any()
    old = index.search(compressed.shop.items[ids[:60]], 10)  # where the updated ones lay before
    assert (old.scores[np.isin(old.ids, ids[:60])] < 0.99).all()
    for allowed in (np.isin(np.arange(N + 20), gone), np.isin(np.arange(N + 20), ids)):
        assert index.search(fresh[:9], 50, allowed=allowed).ids.shape[1] == min(50, (allowed[ids]).sum())


def test_compaction_is_a_build_of_what_is_in_force(
    compressed: Compressed,
    changed: tuple[VectorIndex, np.ndarray, np.ndarray],
    build_compressed: Build,
    tmp_path: Path,
) -> None:
    index, ids, fresh = changed
    in_force = InForce(compressed.source, index)
    compacted = build_compressed(in_force, in_force.traits(), compressed.shop.users[::2], tmp_path / "compacted")
    kept = np.setdiff1d(np.arange(N), np.concatenate([np.arange(0, 2000, 5), ids]))
    np.save(tmp_path / "ids.npy", np.concatenate([kept, ids]))
    np.save(tmp_path / "vectors.npy", np.concatenate([compressed.shop.items[kept], fresh]))
    source = MatrixSource(tmp_path / "vectors.npy", "cosine", tmp_path / "ids.npy")
    traits = compressed.traits.take(kept).joined(Traits(np.ones(80, np.float32), {"seller": np.zeros(80, np.int64)}))
    rebuilt = build_compressed(source, traits, compressed.shop.users[::2], tmp_path / "rebuilt")
    queries, names = compressed.shop.users[1::2], [name for name in FILES if name != CHOICES_FILE]
    for name in (*names, "ids.npy", "traits.npz", "tier.npy"):
        assert file_sha256(tmp_path / "compacted" / name) == file_sha256(tmp_path / "rebuilt" / name)
    for weight in (0.0, 0.06):  # by the same lists: how many was chosen by a clock
        asked = widened(queries, np.full(len(queries), weight, np.float32))
        ours, theirs = (held.engine.search(asked, K, probes=32) for held in (compacted, rebuilt))
        assert np.array_equal(compacted.ids[ours.ids], rebuilt.ids[theirs.ids])
        assert np.array_equal(ours.scores, theirs.scores)
    before, after = index.search(queries, K), compacted.search(queries, K)
    assert after.recall(before) >= 0.93  # other lists and codes of the same items
