"""A search finds what brute force finds, as many items as are allowed, and refuses what it can't search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.index.exact import exact_search
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import rng


def unit(n: int, dim: int, *names: str | int) -> np.ndarray:
    vectors = rng(0, "vectors", n, dim, *names).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(vectors: np.ndarray, ids: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    scored = sorted(zip(-(vectors.astype(np.float64) @ query.astype(np.float64)), ids.tolist(), strict=True))
    return [item for _, item in scored[:k]]


def masked_truth(vectors: np.ndarray, ids: np.ndarray, query: np.ndarray, k: int, mask: np.ndarray) -> list[int]:
    keep = mask[ids]
    return brute_force(vectors[keep], ids[keep], query, k)


@pytest.mark.parametrize(("n", "dim", "k"), [(1, 1, 1), (7, 3, 10), (503, 17, 100)])
def test_flat_search_is_brute_force(n: int, dim: int, k: int) -> None:
    vectors, queries = unit(n, dim), unit(23, dim, "queries")
    ids = rng(1, "ids").permutation(3 * n)[:n]
    hits = VectorIndex.build(vectors, ids, IndexSpec(kind="flat")).search(queries, k)
    assert hits.ids.shape == (23, min(k, n))
    for row, query in enumerate(queries):
        truth = brute_force(vectors, ids, query, k)
        if dim > 1:
            assert hits.ids[row].tolist() == truth
        by_id = dict(zip(ids.tolist(), vectors @ query, strict=True))
        np.testing.assert_allclose(hits.scores[row], [by_id[item] for item in hits.ids[row]], atol=1e-5)
    assert (np.diff(hits.scores, axis=1) <= 1e-6).all()


def test_exact_search_is_brute_force() -> None:
    vectors, queries = unit(301, 9), unit(200, 9, "queries")
    ids, allowed = np.arange(301) + 5, rng(2, "allowed").random(301) < 0.3
    hits = exact_search(vectors, ids, queries, 20, allowed)
    for row, query in enumerate(queries):
        assert hits.ids[row].tolist() == brute_force(vectors[allowed], ids[allowed], query, 20)


def test_lists_visited_in_full_are_brute_force() -> None:
    vectors, queries = unit(2000, 16), unit(30, 16, "queries")
    index = VectorIndex.build(vectors, None, IndexSpec(kind="ivf", lists=40, probes=40))
    hits, truth = index.search(queries, 50), exact_search(vectors, np.arange(2000), queries, 50)
    assert hits.recall(truth) == 1.0
    assert (index.kind, index.lists, index.probes) == ("ivf", 40, 40)


def test_probes_are_few_that_reach_the_target() -> None:
    vectors, queries = unit(3000, 8), unit(100, 8, "queries")
    index = VectorIndex.build(vectors, None, IndexSpec(kind="ivf", lists=64, recall_target=0.9), queries)
    truth = exact_search(vectors, np.arange(3000), queries, 100)
    assert index.search(queries, 100).recall(truth) >= 0.9
    assert 1 < index.probes < 64
    fewer = VectorIndex.build(vectors, None, IndexSpec(kind="ivf", lists=64, probes=index.probes // 2))
    assert fewer.search(queries, 100).recall(truth) < 0.9


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@given(
    share=st.sampled_from([0.0, 0.002, 0.02, 0.5, 1.0]), seed=st.integers(0, 10_000), k=st.sampled_from([1, 10, 100])
)
@settings(max_examples=15, deadline=None)
def test_exactly_as_many_as_allowed(kind: str, share: float, seed: int, k: int) -> None:
    vectors, ids = unit(1000, 8), np.arange(1000) * 2 + 3
    index = VectorIndex.build(vectors, ids, IndexSpec(kind=kind, lists=50, probes=2))  # type: ignore[arg-type]
    queries = unit(5, 8, "queries", seed)
    mask = rng(seed, "mask").random((5, 1500)) < share  # ids from 1500 on are beyond the mask: not allowed
    hits = index.search(queries, k, allowed=mask)
    for row, query in enumerate(queries):
        found = hits.ids[row][hits.ids[row] >= 0]
        possible = ids[(ids < 1500)]
        possible = possible[mask[row][possible]]
        assert len(found) == min(k, len(possible))
        assert len(set(found.tolist())) == len(found)
        assert np.isin(found, possible).all()
        if kind == "flat" or len(possible) <= k:
            inside = ids < 1500
            assert found.tolist() == masked_truth(vectors[inside], ids[inside], query, k, mask[row])
    shared = index.search(queries, k, allowed=mask[0])
    assert np.array_equal(shared.ids[0][shared.ids[0] >= 0], hits.ids[0][hits.ids[0] >= 0])


def test_too_few_items_in_the_visited_lists_are_completed_without_a_mask() -> None:
    vectors = unit(100, 8)
    index = VectorIndex.build(vectors, None, IndexSpec(kind="ivf", lists=30, probes=1))
    hits = index.search(unit(9, 8, "queries"), 60)
    assert (hits.ids >= 0).all()
    assert all(len(set(row)) == 60 for row in hits.ids.tolist())


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_saved_and_loaded_index_answers_the_same(tmp_path: Path, kind: str) -> None:
    vectors, queries = unit(700, 12), unit(20, 12, "queries")
    index = VectorIndex.build(vectors, np.arange(700) + 2, IndexSpec(kind=kind), queries)  # type: ignore[arg-type]
    index.save(tmp_path)
    loaded = VectorIndex.load(tmp_path)
    assert (len(loaded), loaded.dim, loaded.kind, loaded.probes) == (700, 12, kind, index.probes)
    before, after = index.search(queries, 30), loaded.search(queries, 30)
    assert np.array_equal(before.ids, after.ids)
    assert np.array_equal(before.scores, after.scores)


def test_ids_of_another_length_are_refused(tmp_path: Path) -> None:
    VectorIndex.build(unit(10, 4), 2 * np.arange(10), IndexSpec()).save(tmp_path)
    np.save(tmp_path / "ids.npy", np.arange(9))
    with pytest.raises(ValueError, match="9 ids for 10 vectors"):
        VectorIndex.load(tmp_path)


def test_kind_follows_the_size_of_the_catalogue() -> None:
    assert VectorIndex.build(unit(50, 4), None, IndexSpec(flat_limit=50)).kind == "flat"
    assert VectorIndex.build(unit(51, 4), None, IndexSpec(flat_limit=50)).kind == "ivf"


def poisoned(row: int, with_value: float) -> np.ndarray:
    vectors = unit(20, 4).copy()
    vectors[row] = with_value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "ids", "message"),
    [
        (poisoned(3, np.nan), None, "row 3 has norm nan"),
        (poisoned(4, np.inf), None, "row 4 has norm inf"),
        (poisoned(5, 0.0), None, "row 5 has norm 0"),
        (unit(20, 4) * 1.01, None, "row 0 has norm 1.01"),
        (unit(20, 4).astype(np.float64), None, "must be float32, got float64"),
        (unit(20, 4)[0], None, r"must be \[n, D\]"),
        (unit(20, 4), np.arange(19), r"ids must be \[20\]"),
        (unit(20, 4), np.arange(20) - 1, "got -1"),
        (unit(20, 4), np.arange(20) // 2, "id 0 is given 2 times"),
        (unit(20, 4), np.arange(20.0), "must be integers"),
    ],
)
def test_wrong_input_is_named(vectors: np.ndarray, ids: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VectorIndex.build(vectors, ids, IndexSpec())


def test_wrong_queries_are_named() -> None:
    index = VectorIndex.build(unit(20, 4), None, IndexSpec())
    with pytest.raises(ValueError, match="5 dimensions, the index has 4"):
        index.search(unit(2, 5), 3)
    with pytest.raises(ValueError, match="row 1 has norm nan"):
        index.search(poisoned(1, np.nan), 3)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.search(unit(2, 4), 0)
    with pytest.raises(ValueError, match="mask of booleans"):
        index.search(unit(2, 4), 3, allowed=np.arange(3))
    with pytest.raises(ValueError, match="allowed must be"):
        index.search(unit(2, 4), 3, allowed=np.ones((3, 20), dtype=bool))


@pytest.mark.parametrize(
    "field", [{"recall_target": 0.0}, {"lists": 0}, {"probes": -1}, {"threads": 0}, {"flat_limit": -1}]
)
def test_spec_checks_its_ranges(field: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(field))):
        IndexSpec(**field)  # type: ignore[arg-type]


def test_cells_are_the_lists_that_vectors_lie_in_and_products_are_counted() -> None:
    vectors = np.random.default_rng(0).standard_normal((300, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = VectorIndex.build(vectors, None, IndexSpec(kind="ivf", lists=6, probes=2))
    cells = index.cells(vectors)
    for row in range(0, 300, 50):  # with one list visited, what is found lies in the query's own list
        found = index.engine.search(vectors[row : row + 1], 5, probes=1).ids[0]
        assert set(cells[found[found >= 0]]) == {cells[row]}
    assert index.products_a_query == 6 + 300 * 2 / 6
    flat = VectorIndex.build(vectors, None, IndexSpec(kind="flat"))
    assert flat.products_a_query == 300
    assert flat.cells(vectors).max() == 0
