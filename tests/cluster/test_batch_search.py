"""Offline answers are those of a direct call, whoever computes them and however the table is cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir

from jobs.batch_search import BatchSearchSettings, batch_search_settings, main
from jobs.settings import CONFIGS
from recsys.artefact import Artefact
from recsys.cluster.batch_search import BatchSearch, Table, batch_search
from recsys.cluster.start import ClusterSpec
from recsys.index.envelope import SealedIndex
from tests.index.test_build import DIM
from tests.index.test_envelope import built
from tests.index.test_vector_index import unit

ALONE = ClusterSpec(workers=0)
QUERIES = unit(230, DIM, "asked")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return built(tmp_path_factory.mktemp("batch"))


def write(folder: Path, vectors: np.ndarray = QUERIES, files: int = 3, fixed: bool = True) -> str:
    """Several files of several row groups, none of them of the block's size."""
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(vectors)), files)):
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors[rows].ravel()), vectors.shape[1])
        column = lists if fixed else lists.cast(pa.list_(pa.float32()))
        table = pa.table({"user": [f"u{row}" for row in rows], "vector": column, "row": rows})
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=37)
    return str(folder)


def answers(found: Artefact) -> pa.Table:
    return pa.concat_tables([pq.read_table(part) for part in sorted(found.path.glob("part-*.parquet"))])


def spec_of(index: Artefact, queries: str) -> BatchSearch:
    return BatchSearch(index_dir=str(index.path), queries=queries, encoded_by="tower-aaaa", k=7, block=50)


@pytest.mark.parametrize("fixed", [True, False])
def test_answers_are_those_of_a_direct_call(index: Artefact, tmp_path: Path, fixed: bool) -> None:
    found = batch_search(spec_of(index, write(tmp_path / "q", fixed=fixed)), tmp_path / "out", ALONE)
    table, direct = answers(found), SealedIndex.load(index).index.search(QUERIES, 7)
    assert table.column_names == ["user", "row", "ids", "scores"]
    assert table["row"].to_pylist() == list(range(230))
    assert table["user"].to_pylist() == [f"u{row}" for row in range(230)]
    assert table["ids"].to_pylist() == direct.ids.tolist()
    assert np.array_equal(np.array(table["scores"].to_pylist(), np.float32), direct.scores)
    assert found.meta["queries"] == 230


def test_one_file_and_more_wanted_than_there_are(index: Artefact, tmp_path: Path) -> None:
    write(tmp_path / "q", QUERIES[:5], files=1)
    spec = replace(spec_of(index, str(tmp_path / "q" / "part-0.parquet")), k=5000)
    table = answers(batch_search(spec, tmp_path / "out", ALONE))
    assert {len(ids) for ids in table["ids"].to_pylist()} == {1500}


def test_ranges_cross_files_and_row_groups(tmp_path: Path) -> None:
    table = Table.of(write(tmp_path / "q"))
    assert table.rows == 230
    for start, count in ((0, 230), (36, 2), (37, 1), (70, 90), (229, 50), (100, 1)):
        rows = table.slice(start, count, leave_out="vector")
        assert rows["row"].to_pylist() == list(range(start, min(start + count, 230)))


def test_what_doesnt_fit_is_refused_before_anything_is_written(index: Artefact, tmp_path: Path) -> None:
    spec = spec_of(index, write(tmp_path / "q"))
    wide, numbers = write(tmp_path / "wide", unit(9, DIM + 1)), tmp_path / "n.parquet"
    pq.write_table(pa.table({"vector": [1.0]}), numbers)
    for changes, told in (
        ({"encoded_by": "tower-bbbb"}, "encoded by model tower-bbbb, .* holds vectors of model tower-aaaa"),
        ({"queries": wide}, "'vector' has 9 dimensions, the index has 8"),
        ({"queries": str(numbers)}, "'vector' is double, not lists of floats"),
        ({"column": "row"}, "'row' is int64, not lists of floats"),
        ({"column": "nothing"}, "has no column 'nothing'"),
        ({"queries": str(tmp_path / "nowhere")}, "holds no .parquet file"),
    ):
        with pytest.raises(ValueError, match=told):
            batch_search(replace(spec, **changes), tmp_path / "out", ALONE)
    ragged = write(tmp_path / "ragged", unit(9, DIM + 1), fixed=False)
    with pytest.raises(ValueError, match="every query must have 8 numbers"):
        batch_search(replace(spec, queries=ragged), tmp_path / "out", ALONE)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="give encoded_by="):
        replace(spec, encoded_by="")


def test_the_configuration_becomes_values() -> None:
    with initialize_config_dir(CONFIGS, version_base="1.3"):
        told = ["index_dir=i", "queries=q", "encoded_by=m", "out=o", "k=5", "cluster=local0"]
        settings = batch_search_settings(compose("batch_search", overrides=told))
        assert settings.search == BatchSearch(index_dir="i", queries="q", encoded_by="m", k=5)
        for left_out, name in enumerate(("index_dir", "queries", "encoded_by", "out")):
            with pytest.raises(ValueError, match=f"give .*{name}="):
                batch_search_settings(compose("batch_search", overrides=told[:left_out] + told[left_out + 1 :]))


@pytest.mark.ray
def test_actors_answer_as_this_process(index: Artefact, tmp_path: Path) -> None:
    spec = spec_of(index, write(tmp_path / "q"))
    alone = batch_search(spec, tmp_path / "alone", ALONE)
    cluster = ClusterSpec(workers=2, cpus_per_worker=0.4)
    main(BatchSearchSettings(search=spec, cluster=cluster, out=str(tmp_path / "ray")))
    for part in alone.manifest["files"]:
        assert pq.read_table(alone.path / part).equals(pq.read_table(tmp_path / "ray" / part))
