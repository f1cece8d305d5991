"""The built index belongs to its checkpoint, reports a recall that is true, and a damaged file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.artefact import Artefact, ArtefactError, committing, opened
from recsys.index.build import RECALL, Queries, build_index, load_index
from recsys.index.exact import exact_search
from recsys.index.item_vectors import ItemVectors, item_vectors_table
from recsys.index.vector_index import IndexSpec
from tests.index.test_vector_index import unit

NUM_ITEMS, DIM = 1502, 8


def embedded(folder: Path, checkpoint: str = "aaaa", parts: int = 3) -> Artefact:
    vectors, hidden = unit(NUM_ITEMS, DIM), np.arange(NUM_ITEMS * 5, dtype=np.float32).reshape(-1, 5)
    meta = {"checkpoint": checkpoint, "dim": DIM, "hidden": 5, "items": NUM_ITEMS, "model": f"tower-{checkpoint}"}
    with committing(folder, "item_vectors", fingerprint=f"of-{checkpoint}", meta=meta) as staging:
        for part, rows in enumerate(np.array_split(np.arange(NUM_ITEMS), parts)):
            pq.write_table(item_vectors_table(rows, vectors[rows], hidden[rows]), staging / f"part-{part:05d}.parquet")
    return opened(folder, "item_vectors")


def test_item_vectors_come_back_in_order(tmp_path: Path) -> None:
    held = ItemVectors.load(embedded(tmp_path / "item_vectors"))
    assert np.array_equal(held.items, np.arange(NUM_ITEMS))
    assert np.array_equal(held.vectors, unit(NUM_ITEMS, DIM))
    assert held.hidden[7].tolist() == [35, 36, 37, 38, 39]
    wider, _ = held.by_index(NUM_ITEMS)
    assert wider is held.vectors
    with pytest.raises(ValueError, match="beyond the 10 items"):
        held.by_index(10)


def test_items_without_a_vector_are_zeros(tmp_path: Path) -> None:
    held = ItemVectors(np.array([2, 4]), unit(2, 3), np.ones((2, 5), np.float32), "aaaa", "tower-aaaa")
    vectors, hidden = held.by_index(6)
    assert vectors.shape == (6, 3)
    assert hidden.sum(1).tolist() == [0, 0, 5, 0, 5, 0]


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_manifest_tells_the_recall_on_queries_that_chose_nothing(tmp_path: Path, kind: str) -> None:
    vectors = embedded(tmp_path / "item_vectors")
    queries = Queries(unit(80, DIM, "users"), "aaaa", "tower-aaaa")
    spec = IndexSpec(kind=kind, lists=32, recall_target=0.9)  # type: ignore[arg-type]
    artefact = build_index(vectors, queries, spec, tmp_path / "index")
    index = load_index(artefact, "aaaa", "tower-aaaa").index
    assert artefact.meta["items"] == len(index) == NUM_ITEMS - 2
    assert artefact.meta["kind"] == kind
    assert artefact.meta["probes"] == index.probes
    held = ItemVectors.load(vectors)
    truth = exact_search(held.vectors[2:], held.items[2:], queries.vectors[1::2], 100)
    assert artefact.meta[RECALL] == pytest.approx(index.search(queries.vectors[1::2], 100).recall(truth), abs=1e-6)
    assert artefact.meta[RECALL] == 1.0 if kind == "flat" else 0.85 < artefact.meta[RECALL] < 1.0
    assert not np.isin([0, 1], index.ids).any()  # padding and unknown are never found


def test_an_index_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    vectors = embedded(tmp_path / "item_vectors", checkpoint="aaaa")
    with pytest.raises(ValueError, match=r"made by checkpoint aaaa \(model tower-aaaa\), the queries by bbbb"):
        build_index(vectors, Queries(unit(4, DIM), "bbbb", "tower-bbbb"), IndexSpec(), tmp_path / "index")
    assert not (tmp_path / "index").exists()
    artefact = build_index(vectors, Queries(unit(4, DIM), "aaaa", "tower-aaaa"), IndexSpec(), tmp_path / "index")
    with pytest.raises(ValueError, match="items of checkpoint aaaa, but checkpoint bbbb is loaded"):
        load_index(artefact, "bbbb", "tower-bbbb")


def test_without_queries_no_recall_is_claimed(tmp_path: Path) -> None:
    vectors = embedded(tmp_path / "item_vectors")
    artefact = build_index(
        vectors, Queries(np.zeros((0, DIM), np.float32), "aaaa", "tower-aaaa"), IndexSpec(), tmp_path / "index"
    )
    assert artefact.meta[RECALL] is None


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    build_index(embedded(tmp_path / "v"), Queries(unit(4, DIM), "aaaa", "tower-aaaa"), IndexSpec(), tmp_path / "index")
    target = tmp_path / "index" / "index.faiss"
    held = bytearray(target.read_bytes())
    held[len(held) // 2] ^= 1
    target.write_bytes(bytes(held))
    with pytest.raises(ArtefactError, match=r"index\.faiss"):
        opened(tmp_path / "index", "index")


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    artefact = embedded(tmp_path / "item_vectors")
    (artefact.path / "part-00001.parquet").unlink()
    with pytest.raises(ArtefactError, match="make it again"):
        ItemVectors.load(artefact)
