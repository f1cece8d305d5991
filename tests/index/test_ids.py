"""Ids stand for places, whether a table, a range or the rows that an engine keeps anyway says which."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from recsys.index.compressed import CompressedEngine
from recsys.index.ids import Ids
from recsys.index.row_file import ReadRows, few_rows
from recsys.index.stored import Stored
from recsys.index.vector_index import VectorIndex
from recsys.random import rng
from tests.index.conftest import Compressed


@pytest.mark.parametrize("above", [0, 2])
def test_rows_and_a_table_of_the_same_ids_answer_alike(above: int) -> None:
    rows = rng(0, "ids").permutation(500).astype(np.uint32)
    ours, table = Ids(500, above, rows), Ids.of(rows.astype(np.int64) + above)
    places, asked = np.array([[-1, 0], [499, 7]]), np.arange(-1, 510)
    np.testing.assert_array_equal(ours.at(places), table.at(places))
    np.testing.assert_array_equal(ours.places(asked), table.places(asked))
    np.testing.assert_array_equal(ours.every, table.every)
    assert ours.every.dtype == np.int64
    for width in (100, 502, 600):
        mask = rng(1, "mask").random((2, width)) < 0.5
        np.testing.assert_array_equal(ours.mask(mask), table.mask(mask))
    assert (ours.above(rows), table.above(rows)) == (above, above)
    table.every[-1] += 1
    assert table.above(rows) is None


def test_ids_below_their_rows_keep_their_table() -> None:
    """A mask over ids is cut at the first of them, which a negative one would count from the end."""
    assert Ids.of(np.array([3, 5])).above(np.array([100, 102], np.uint32)) is None


def test_ids_that_are_rows_take_no_file(compressed: Compressed, tmp_path: Path) -> None:
    assert not (compressed.folder / "ids.npy").exists()
    before = compressed.opened()
    np.save(tmp_path / "ids.npy", before.ids)  # as folders were before
    for path in compressed.folder.iterdir():
        shutil.copy(path, tmp_path)
    layout = json.loads((tmp_path / "layout.json").read_bytes())
    assert layout.pop("ids") == {"above_rows": 0}
    (tmp_path / "layout.json").write_text(json.dumps(layout))
    queries, allowed = compressed.shop.users[:20], rng(0, "allowed").random(len(before)) < 0.3
    ours, theirs = (index.search(queries, 50, allowed=allowed) for index in (before, VectorIndex.load(tmp_path)))
    np.testing.assert_array_equal(ours.ids, theirs.ids)


def test_ids_that_are_no_rows_keep_their_table(compressed: Compressed, tmp_path: Path) -> None:
    engine = compressed.opened().engine
    assert isinstance(engine, CompressedEngine)
    ids = 7 + 3 * engine.order.astype(np.int64)
    layout = Stored(engine, Ids.of(ids)).save(tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "ids.npy"), ids)
    np.testing.assert_array_equal(Stored.load(tmp_path, layout, 1).ids.every, ids)


@pytest.mark.parametrize("kept", ["column", {"above_rows": 0, "times": 3}])
def test_another_way_to_keep_ids_is_refused(compressed: Compressed, tmp_path: Path, kept: object) -> None:
    for path in compressed.folder.iterdir():
        shutil.copy(path, tmp_path)
    layout = json.loads((tmp_path / "layout.json").read_bytes())
    (tmp_path / "layout.json").write_text(json.dumps({**layout, "ids": kept}))
    with pytest.raises(ValueError, match="which this code doesn't know"):
        VectorIndex.load(tmp_path)


def test_rows_that_are_read_are_those_that_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rng(0, "rows").random((300, 8)).astype(np.float16)
    np.save(tmp_path / "rows.npy", rows)
    monkeypatch.setattr("recsys.index.row_file.READ_FROM", 300)
    read = few_rows(tmp_path / "rows.npy", np.load(tmp_path / "rows.npy", mmap_mode="r"))
    assert isinstance(read, ReadRows)
    for at in (np.array([[0, 299], [-1, -300]]), np.zeros(0, np.int64)):
        np.testing.assert_array_equal(read[at], rows[at])
    for beyond in (300, -301):
        with pytest.raises(IndexError, match="of 300 in"):
            read[np.array([beyond])]


def test_an_engine_that_reads_its_rows_answers_as_one_that_maps_them(
    compressed: Compressed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide, queries = compressed.shop.items, compressed.shop.users[:20]
    np.save(tmp_path / "half.npy", np.pad(wide, ((0, 0), (0, 4))).astype(np.float16))  # as wide as with a prior
    mapped = CompressedEngine.load(compressed.folder, tail=str(tmp_path / "half.npy"))
    monkeypatch.setattr("recsys.index.row_file.READ_FROM", 1)
    read = CompressedEngine.load(compressed.folder, tail=str(tmp_path / "half.npy"))
    assert isinstance(read.orders, ReadRows)
    assert isinstance(read.tail, ReadRows)
    ours, theirs = (engine.search(queries, 50) for engine in (mapped, read))
    np.testing.assert_array_equal(ours.scores, theirs.scores)
    np.testing.assert_array_equal(mapped.rows(np.arange(99)), read.rows(np.arange(99)))
    np.testing.assert_array_equal(mapped.source_rows(ours.ids), read.source_rows(theirs.ids))
