"""What is added, updated or deleted holds from the next search on, through compaction, saving and a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.index.exact import Hits, exact_search
from recsys.index.vector_index import IndexSpec, Traits, VectorIndex
from recsys.random import rng
from tests.index.test_vector_index import unit

DIM = 8


def spec(kind: str) -> IndexSpec:
    return IndexSpec(kind=kind, lists=20, probes=20)  # type: ignore[arg-type]


def equal(first: Hits, second: Hits) -> None:
    assert np.array_equal(first.ids, second.ids)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*call compact")
@pytest.mark.parametrize("kind", ["flat", "ivf"])
@given(steps=st.lists(st.tuples(st.sampled_from(["add", "delete", "compact"]), st.integers(0, 999)), max_size=8))
@settings(max_examples=25, deadline=None)
def test_any_history_is_the_index_of_what_is_in_force(kind: str, steps: list[tuple[str, int]]) -> None:
    held = dict(enumerate(unit(300, DIM)))
    index = VectorIndex.build(unit(300, DIM), None, spec(kind))
    queries, mask = unit(6, DIM, "queries"), rng(0, "mask").random(400) < 0.3
    for step, (what, seed) in enumerate(steps):
        draw = rng(seed, "change", step)
        if what == "compact":
            index.compact()
        elif what == "add":
            ids = draw.choice(400, 12, replace=False)
            fresh = unit(12, DIM, "fresh", seed, step)
            index.add(fresh, ids)
            held |= dict(zip(ids.tolist(), fresh, strict=True))
        else:
            ids = draw.choice(sorted(held), min(9, len(held)), replace=False)
            index.delete(ids)
            for item in ids.tolist():
                del held[item]
        ids, vectors = np.array(sorted(held)), np.stack([held[item] for item in sorted(held)])
        assert len(index) == len(held)
        assert sorted(index.ids.tolist()) == ids.tolist()
        equal(index.search(queries, 40), exact_search(vectors, ids, queries, 40))
        equal(index.search(queries, 40, allowed=mask), exact_search(vectors, ids, queries, 40, mask[ids]))


def changed(kind: str) -> VectorIndex:
    index = VectorIndex.build(unit(3000, DIM), None, IndexSpec(kind=kind, lists=30, probes=4))  # type: ignore[arg-type]
    index.add(unit(12, DIM, "fresh"), np.arange(2990, 3002))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 25 changes of 3000 are close enough
        index.delete(np.arange(7, 20))
    return index


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_compaction_is_a_build_of_what_is_in_force_to_the_bit(kind: str) -> None:
    """The same lists, probes, ids and scores: a build given the vectors in order of id, with the same spec."""
    index, queries = changed(kind), unit(50, DIM, "queries")
    vectors, ids, _ = index._catalogue.whole()
    rebuilt = VectorIndex.build(vectors, ids, IndexSpec(kind=kind, lists=30, probes=4))  # type: ignore[arg-type]
    index.compact()
    assert index.manifest == rebuilt.manifest
    compacted, fresh = index.search(queries, 30), rebuilt.search(queries, 30)
    assert np.array_equal(compacted.ids, fresh.ids)
    assert np.array_equal(compacted.scores, fresh.scores)


def test_where_the_deleted_lie_together_k_is_still_found() -> None:
    vectors = unit(2000, DIM)
    index, query = VectorIndex.build(vectors, None, IndexSpec(kind="ivf", lists=30, probes=30)), unit(1, DIM, "queries")
    nearest = index.search(query, 300)
    with pytest.warns(UserWarning, match=r"300 dead items.*call compact\(\)"):
        index.delete(nearest.ids[0])
    alive = np.setdiff1d(np.arange(2000), nearest.ids[0])
    equal(index.search(query, 100), exact_search(vectors[alive], alive, query, 100))


def test_compaction_is_asked_for_above_a_hundredth() -> None:
    index = VectorIndex.build(unit(1000, DIM), None, IndexSpec())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index.delete(np.arange(10))
    assert not index.manifest["needs_compaction"]
    with pytest.warns(UserWarning, match="call compact"):
        index.add(unit(1, DIM), np.array([5000]))
    assert index.manifest["needs_compaction"]
    index.compact()
    assert not index.needs_compaction
    assert index.manifest["items"] == 991


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_changes_are_saved_and_loaded(tmp_path: Path, kind: str) -> None:
    index, queries = changed(kind), unit(20, DIM, "queries")
    index.save(tmp_path)
    loaded = VectorIndex.load(str(tmp_path))
    assert loaded.manifest == index.manifest
    equal(loaded.search(queries, 30), index.search(queries, 30))
    index.compact()
    index.save(tmp_path)  # what was beside the old layout is gone
    assert not (tmp_path / "recent.npz").exists()
    equal(VectorIndex.load(tmp_path).search(queries, 30), index.search(queries, 30))


def test_wrong_changes_are_named_and_change_nothing() -> None:
    index = VectorIndex.build(unit(50, DIM), None, IndexSpec(), traits=Traits(prior=np.zeros(50)))
    before = index.manifest
    with pytest.raises(ValueError, match=r"\[77\] isn't in the index, 1 of 2"):
        index.delete(np.array([3, 77]))
    with pytest.raises(ValueError, match=r"these traits of its items: \['prior'\]; given were \[\]"):
        index.add(unit(2, DIM), np.array([1, 2]))
    with pytest.raises(ValueError, match="norm nan"):
        index.add(np.full((1, DIM), np.nan, np.float32), np.array([1]), Traits(prior=np.zeros(1)))
    with pytest.raises(ValueError, match="5 dimensions, the index has 8"):
        index.add(unit(1, 5), np.array([1]), Traits(prior=np.zeros(1)))
    assert index.manifest == before


WRITER = """
import sys, numpy as np
from pathlib import Path
from recsys.index.vector_index import VectorIndex
from tests.index.test_vector_index import unit
index = VectorIndex.load(Path(sys.argv[1]), journal=Path(sys.argv[2]))
for number in range(10_000):
    index.add(unit(1, 8, "fresh", number), np.array([1000 + number]))
    print(number, flush=True)
"""


@pytest.mark.filterwarnings("ignore:.*call compact")
def test_after_a_kill_nothing_that_was_told_is_lost(tmp_path: Path) -> None:
    VectorIndex.build(unit(100, DIM), None, IndexSpec()).save(tmp_path / "index")
    folders = [tmp_path / "index", tmp_path / "journal"]
    command = [sys.executable, "-W", "ignore", "-c", WRITER, *map(str, folders)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    ) as writer:
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(25)][-1]
        writer.send_signal(signal.SIGKILL)
        told = max([told, *map(int, writer.stdout.read().split())])
    index = VectorIndex.load(folders[0], journal=folders[1])
    assert set(range(1000, 1001 + told)) <= set(index.ids.tolist()) <= set(range(100)) | set(range(1000, 1002 + told))
    found = index.search(np.concatenate([unit(1, DIM, "fresh", number) for number in range(told + 1)]), 1)
    assert found.ids[:, 0].tolist() == list(range(1000, 1001 + told))


def test_a_saved_index_takes_over_from_its_journal(tmp_path: Path) -> None:
    first, journal, second = tmp_path / "first", tmp_path / "journal", tmp_path / "second"
    VectorIndex.build(unit(3000, DIM), None, IndexSpec()).save(first)
    index = VectorIndex.load(first, journal=journal)
    index.add(unit(3, DIM, "fresh"), np.array([5, 6000, 6001]))
    index.delete(np.array([6001, 8]))
    index.compact()
    index.save(second)
    index.forget_journal(second)
    index.delete(np.array([9]))
    again = VectorIndex.load(second, journal=journal)
    assert again.manifest == index.manifest
    assert sorted(again.ids.tolist()) == sorted({*range(3000), 6000} - {8, 9})
    with pytest.raises(ValueError, match="lacks change 1 of 3"):
        VectorIndex.load(first, journal=journal)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    VectorIndex.build(unit(3000, DIM), None, IndexSpec()).save(tmp_path / "index")
    VectorIndex.load(tmp_path / "index", journal=tmp_path / "journal").delete(np.array([1]))
    (record,) = (tmp_path / "journal").glob("change-*")
    content = record.read_bytes()
    for place in range(0, len(content), 17):
        record.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match=f"{record.name} differs from its checksum"):
            VectorIndex.load(tmp_path / "index", journal=tmp_path / "journal")
