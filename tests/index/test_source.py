"""Ranges of rows are the same whatever they are kept in, and a bad row is named where it is."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.artefact import ArtefactError, committing
from recsys.index.item_vectors import KIND, item_vectors_table
from recsys.index.large import sampled
from recsys.index.source import MatrixSource, opened_source
from recsys.index.synthetic import CHUNK, SyntheticVectors, World

DIM = 8


def unit(n: int) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def catalogue(folder: Path, rows: np.ndarray, block: int) -> Path:
    meta = {"checkpoint": "c", "model": "m", "items": len(rows), "dim": DIM}
    with committing(folder, KIND, fingerprint="f", meta=meta) as parts:
        for place, start in enumerate(range(0, len(rows), block)):
            held = rows[start : start + block]
            table = item_vectors_table(np.arange(start, start + len(held)), held, held)
            pq.write_table(table, parts / f"part-{place:05d}.parquet")
    return folder


def test_a_catalogue_is_read_by_range_without_padding_and_unknown(tmp_path: Path) -> None:
    rows = unit(100)
    source = opened_source(catalogue(tmp_path / "items", rows, 30), "cosine")
    assert (len(source), source.dim, dict(source.origin)) == (98, DIM, {"checkpoint": "c", "model": "m"})
    for start, stop in ((0, 98), (0, 1), (27, 29), (25, 91), (97, 98), (50, 50)):
        ids, held = source.read(start, stop)
        np.testing.assert_array_equal(ids, np.arange(start + 2, stop + 2))
        np.testing.assert_array_equal(held, rows[start + 2 : stop + 2])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_matrix_is_read_by_range_with_its_ids(tmp_path: Path, dtype: type) -> None:
    rows, ids = unit(50), np.arange(50)[::-1] * 3
    np.save(tmp_path / "rows.npy", rows.astype(dtype))
    np.save(tmp_path / "ids.npy", ids)
    source = pickle.loads(pickle.dumps(opened_source(tmp_path / "rows.npy", "cosine")))  # noqa: S301 as Ray sends it
    found, held = source.read(10, 20)
    np.testing.assert_array_equal(found, ids[10:20])
    np.testing.assert_array_equal(held, rows.astype(dtype).astype(np.float32)[10:20])
    assert (source.half is None) == (dtype == np.float32)


@pytest.mark.parametrize(("bad", "told"), [(np.nan, "norm nan"), (9.0, "norm 9")])
def test_a_bad_row_is_named_by_its_place_in_the_whole(tmp_path: Path, bad: float, told: str) -> None:
    rows = unit(50)
    rows[33], rows[33, 0] = 0, bad
    np.save(tmp_path / "rows.npy", rows)
    source = MatrixSource(tmp_path / "rows.npy", "cosine")
    source.read(0, 33)
    with pytest.raises(ValueError, match=rf"rows\.npy: row 33 has {told}"):
        source.read(20, 40)


def test_ids_given_twice_and_other_shapes_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", unit(4))
    np.save(tmp_path / "ids.npy", np.array([1, 2, 2, 3]))
    with pytest.raises(ValueError, match="id 2 is given 2 times"):
        opened_source(tmp_path / "rows.npy", "cosine")
    np.save(tmp_path / "flat.npy", unit(4).ravel())
    with pytest.raises(ValueError, match=r"flat\.npy must be \[n, D\] of float16 or float32, got float32 \(32,\)"):
        MatrixSource(tmp_path / "flat.npy", "cosine")
    with pytest.raises(ArtefactError, match="holds no finished vectors"):
        opened_source(tmp_path, "cosine")


def test_a_sample_is_spread_over_all_rows_and_the_same_every_time(tmp_path: Path) -> None:
    rows = np.repeat(np.arange(1, 30_001, dtype=np.float32)[:, None], 2, axis=1)
    np.save(tmp_path / "rows.npy", rows)
    source = MatrixSource(tmp_path / "rows.npy", "l2")
    one = sampled(source, 12_000, seed=1)
    np.testing.assert_array_equal(one, sampled(source, 12_000, seed=1))
    counts = np.histogram(one[:, 0], bins=3, range=(1, 30_001))[0]
    assert counts.min() > 2000
    assert len(sampled(source, 40_000, seed=1)) == 30_000


def test_synthetic_vectors_depend_on_seed_and_chunk_only() -> None:
    one, more = World(SyntheticVectors(n=2_000_000, dim=16)), World(SyntheticVectors(n=1_500_000, dim=16))
    np.testing.assert_array_equal(one.chunk(3)[:100], more.chunk(3)[:100])
    assert not np.array_equal(one.chunk(3)[:100], one.chunk(4)[:100])
    assert World(SyntheticVectors(n=CHUNK + 5, dim=4)).chunk(1).shape == (5, 4)
    norms = np.linalg.norm(one.chunk(0).astype(np.float32), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-3)


def test_users_lie_further_from_items_than_items_do() -> None:
    world = World(SyntheticVectors(n=20_000, dim=64, seed=5))
    items = world.chunk(0).astype(np.float32)
    nearest = {kind: (world.queries(kind, "test", 50) @ items.T).max(1).mean() for kind in ("ind", "ood")}  # type: ignore[arg-type]
    assert nearest["ood"] < nearest["ind"] - 0.1
