"""Three steps find what a comparison with all vectors finds, among exactly the vectors that are allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.index.compressed import Choices, CompressedEngine
from recsys.index.exact import Hits
from recsys.index.large import LargeBuild, LargeSpec
from recsys.index.running_top import RunningTop
from recsys.index.source import MatrixSource
from recsys.index.spec import Metric
from recsys.index.synthetic import SyntheticVectors, World
from recsys.index.tune import source_rows
from recsys.index.vectors_folder import in_turn, recall

N, DIM, K = 6000, 32, 20
Made = tuple[CompressedEngine, np.ndarray, np.ndarray]  # engine, vectors by source row, queries


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Made]:
    held: dict[tuple[object, ...], Made] = {}

    def made(metric: Metric = "cosine", parts: int = DIM, tail: str = "none") -> Made:
        key = metric, parts, tail
        if key not in held:
            held[key] = built(tmp_path_factory.mktemp("engine"), *key)
        return held[key]

    return made


def built(folder: Path, metric: Metric, parts: int, tail: str) -> Made:
    world = World(SyntheticVectors(n=N, dim=DIM, seed=2))
    vectors, queries = world.chunk(0), world.queries("ood", "test", 40)
    if metric != "cosine":
        length = np.random.default_rng(0).uniform(0.5, 2, (N, 1))
        vectors, queries = (vectors * length).astype(np.float16), 1.5 * queries
    np.save(folder / "vectors.npy", vectors)
    source = MatrixSource(folder / "vectors.npy", metric)
    spec = LargeSpec(metric=metric, lists=64, parts=parts, tail=tail, shard_items=2500)  # type: ignore[arg-type]
    build = LargeBuild(source, spec, queries[:0], folder / "work")
    build.encode(in_turn)
    (folder / "index").mkdir()
    build.join(folder / "index", in_turn)
    kept = {"none": None, "copy": "tail.npy", "source": str(folder / "vectors.npy")}[tail]
    Choices(metric=metric, probes=16, refine=4.0, tail=kept).save(folder / "index")
    return CompressedEngine.load(folder / "index"), vectors.astype(np.float32), queries


def truth(vectors: np.ndarray, queries: np.ndarray, metric: Metric, k: int = K) -> Hits:
    top = RunningTop(queries, k, metric)
    top.add(vectors, 0)
    return top.hits()


@pytest.mark.parametrize("metric", ["cosine", "inner_product", "l2"])
@pytest.mark.parametrize("parts", [DIM, DIM // 2])
def test_all_lists_find_the_truth_of_each_metric(make: Callable[..., Made], metric: Metric, parts: int) -> None:
    engine, vectors, queries = make(metric, parts)
    hits = engine.search(queries, K, probes=engine.lists, refine=20)
    true = truth(vectors, queries, metric)
    assert recall(source_rows(engine, hits.ids), true.ids) > 0.97
    np.testing.assert_allclose(hits.scores, true.scores, atol=0.03)
    assert (np.diff(hits.scores, axis=1) <= 0).all()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("tail", ["copy", "source"])
def test_half_floats_settle_the_best_exactly(make: Callable[..., Made], metric: Metric, tail: str) -> None:
    engine, vectors, queries = make(metric, DIM, tail)
    hits = engine.search(queries, K, probes=engine.lists, refine=20)
    true = truth(vectors, queries, metric)
    np.testing.assert_array_equal(source_rows(engine, hits.ids), true.ids)
    np.testing.assert_allclose(hits.scores, true.scores, atol=1e-5)
    np.testing.assert_array_equal(engine.rows(np.arange(N)), vectors[engine.order])


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_as_many_as_are_allowed_and_none_else(make: Callable[..., Made], share: float) -> None:
    engine, _, queries = make()
    allowed = np.random.default_rng(1).random(N) < share
    hits = engine.search(queries, K, probes=engine.lists, allowed=allowed)
    found = min(K, int(allowed.sum()))
    assert (hits.ids[:, :found] >= 0).all()
    assert (hits.ids[:, found:] == -1).all()
    assert allowed[hits.ids[:, :found]].all()
    assert all(len(set(row.tolist())) == found for row in hits.ids[:, :found])


def test_more_than_there_are_is_all_of_them(make: Callable[..., Made]) -> None:
    engine, _, queries = make()
    hits = engine.search(queries[:3], N + 5, probes=engine.lists)
    assert hits.ids.shape == (3, N)
    assert (np.sort(hits.ids, axis=1) == np.arange(N)).all()


def test_rows_are_within_the_steps_of_their_bytes(make: Callable[..., Made]) -> None:
    engine, vectors, _ = make()
    off = np.abs(engine.rows(np.arange(N)) - vectors[engine.order])
    codec = engine.refiner.codec
    own = np.repeat(np.arange(engine.lists), engine.layout.sizes)
    assert np.quantile(off / (codec.spread[own, None] * codec.scale), 0.99) <= 0.51


def test_a_place_lies_in_the_list_of_its_vector(make: Callable[..., Made]) -> None:
    engine, vectors, _ = make()
    own = np.repeat(np.arange(engine.lists), engine.layout.sizes)
    np.testing.assert_array_equal(engine.cells(vectors[engine.order]), own)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_one_query_or_many_and_one_thread_or_three_find_the_same(make: Callable[..., Made], metric: Metric) -> None:
    engine, _, queries = make(metric)
    whole = engine.search(queries, K)
    engine.threads = 3
    spread = engine.search(queries, K)
    engine.threads = 1
    singly = Hits.stack([engine.search(queries[row : row + 1], K) for row in range(len(queries))], K)
    np.testing.assert_array_equal(whole.ids, spread.ids)
    np.testing.assert_array_equal(whole.ids, singly.ids)


def test_a_saved_engine_answers_as_before(make: Callable[..., Made], tmp_path: Path) -> None:
    engine, _, queries = make("cosine", DIM, "copy")
    engine.save(tmp_path)
    again = CompressedEngine.load(tmp_path, threads=2)
    np.testing.assert_array_equal(again.search(queries, K).ids, engine.search(queries, K).ids)
    assert (len(again), again.dim, again.lists, again.probes) == (N, DIM, 64, 16)


def test_a_tail_that_is_gone_is_named(make: Callable[..., Made], tmp_path: Path) -> None:
    engine, _, _ = make()
    engine.save(tmp_path)
    replace(engine.choices, tail="gone.npy").save(tmp_path)
    with pytest.raises(ValueError, match=r"gone\.npy is missing"):
        CompressedEngine.load(tmp_path)


def test_a_subset_has_its_half_floats(make: Callable[..., Made], tmp_path: Path) -> None:
    engine, vectors, queries = make("cosine", DIM, "copy")
    places = np.arange(3, N, 5)
    part = engine.subset(places, tmp_path)
    hits = part.search(queries, K, probes=part.lists, refine=20)
    true = truth(vectors[np.sort(engine.order[places])], queries, "cosine")
    np.testing.assert_array_equal(source_rows(part, hits.ids), np.sort(engine.order[places])[true.ids])
