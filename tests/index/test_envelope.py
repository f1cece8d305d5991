"""What was built is what answers: another model, another answer or another byte is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.artefact import Artefact, ArtefactError, opened
from recsys.index.build import build_index, load_index
from recsys.index.catalogue import spread
from recsys.index.envelope import GOLDEN, Golden, Queries, SealedIndex, cosines
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.random import rng
from tests.index.test_build import DIM, NUM_ITEMS, embedded
from tests.index.test_vector_index import unit


def built(folder: Path, kind: str = "ivf", queries: int = 200) -> Artefact:
    asked = Queries(unit(queries, DIM, "users"), "aaaa", "tower-aaaa")
    spec = IndexSpec(kind=kind, lists=16, probes=4)  # type: ignore[arg-type]
    return build_index(embedded(folder / "item_vectors"), asked, spec, folder / "index")


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return built(tmp_path_factory.mktemp("envelope"))


@pytest.mark.parametrize(("kind", "queries", "expected"), [("flat", 5, 5), ("ivf", 200, GOLDEN), ("ivf", 0, GOLDEN)])
def test_golden_queries_are_users_and_items_stand_in_for_them(
    tmp_path: Path, kind: str, queries: int, expected: int
) -> None:
    sealed = SealedIndex.load(built(tmp_path, kind, queries))
    golden = sealed.golden
    assert golden.queries.shape == (expected, DIM)
    assert golden.ids.shape == golden.scores.shape == (expected, 10)
    known = unit(queries, DIM, "users") if queries else unit(NUM_ITEMS, DIM)
    assert all((known == query).all(1).any() for query in golden.queries)
    assert np.array_equal(golden.ids, sealed.index.search(golden.queries, 10).ids)
    assert golden.row_error < 1e-6  # these engines keep float32


def test_another_byte_anywhere_is_refused_and_the_file_named(artefact: Artefact, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artefact.path, tmp_path / "index"))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert {path.name for path in files} == {"golden.npz", "ids.npy", "index.faiss", "layout.json", "manifest.json"}
    random = rng(0, "flipped bytes")
    places = [(path, int(random.integers(path.stat().st_size))) for path in files for _ in range(20)]
    for path, place in places:
        before = path.read_bytes()
        damaged = bytearray(before)
        damaged[place] ^= int(random.integers(1, 256))
        path.write_bytes(bytes(damaged))
        with pytest.raises(ArtefactError, match=path.name):
            opened(folder, "index")
        path.write_bytes(before)
    assert len(places) == 100
    SealedIndex.load(opened(folder, "index"))


def test_an_index_that_answers_otherwise_is_refused(artefact: Artefact) -> None:
    sealed = SealedIndex.load(artefact)
    index, golden = sealed.index, sealed.golden
    renamed = VectorIndex(index.engine, np.roll(index.ids, 1))
    elsewhere = replace(golden, queries=unit(GOLDEN, DIM, "others"))
    off = replace(golden, scores=golden.scores + np.float32(1e-3))
    short = replace(golden, ids=golden.ids[:, :9], scores=golden.scores[:, :9])
    for expected, held in ((golden, renamed), (elsewhere, index), (off, index), (short, index)):
        with pytest.raises(ArtefactError, match="golden query .* answered otherwise.*build the index again"):
            expected.check(held, artefact.path)


def test_last_bits_and_ties_at_the_end_are_no_difference() -> None:
    vectors = np.tile(unit(14, DIM), (3, 1))  # every item has two twins: of the last three found, one is told
    index = VectorIndex.build(vectors, None, IndexSpec(kind="flat"))
    golden = Golden.of(index, unit(30, DIM, "users"), vectors)
    renamed = VectorIndex(index.engine, (np.arange(42) + 14) % 42)
    assert not np.array_equal(renamed.search(golden.queries, 10).ids, golden.ids)
    replace(golden, scores=golden.scores + np.float32(3e-5)).check(renamed, Path("twins"))


def test_a_missing_or_damaged_golden_file_is_named(artefact: Artefact, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(artefact.path, tmp_path / "index"))
    for content in (b"", b"no zip", (folder / "golden.npz").read_bytes()[:-60]):
        (folder / "golden.npz").write_bytes(content)
        with pytest.raises(ArtefactError, match=r"golden\.npz can't be read"):
            Golden.load(folder)
    (folder / "golden.npz").unlink()
    with pytest.raises(ArtefactError, match=r"golden\.npz can't be read.*jobs\.index"):
        SealedIndex.load(Artefact(folder, artefact.manifest))


def test_queries_and_indexes_of_another_model_are_refused(artefact: Artefact) -> None:
    with pytest.raises(ValueError, match="items of model tower-aaaa, but model tower-bbbb is loaded"):
        load_index(artefact, "aaaa", "tower-bbbb")
    sealed = load_index(artefact, "aaaa", "tower-aaaa")
    asked = Queries(unit(3, DIM, "others"), "cccc", "tower-aaaa")  # another checkpoint, the same item tower
    assert sealed.search(asked, 5).ids.shape == (3, 5)
    with pytest.raises(ValueError, match="encoded by model tower-bbbb, the index holds vectors of model tower-aaaa"):
        sealed.search(replace(asked, model="tower-bbbb"), 5)


def test_spread_and_cosines() -> None:
    assert spread(np.arange(10), 3).tolist() == [0, 4, 9]
    assert spread(np.arange(2), 5).tolist() == [0, 1]
    assert len(spread(np.zeros((0, 4)), 5)) == 0
    a = np.array([[1, 0], [1, 1], [0, 0], [0, 0]], np.float32)
    b = np.array([[0, 2], [3, 3], [0, 0], [1, 0]], np.float32)
    assert cosines(a, b).tolist() == pytest.approx([0, 1, 1, 0])
