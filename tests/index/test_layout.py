"""A folder says which engine searches it; one that says nothing, or nothing known, is refused with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.index.vector_index import IndexSpec, VectorIndex
from tests.index.test_vector_index import unit


def saved(folder: Path) -> Path:
    VectorIndex.build(unit(30, 4), None, IndexSpec()).save(folder)
    return folder / "layout.json"


def test_the_layout_names_engine_and_metric(tmp_path: Path) -> None:
    layout = json.loads(saved(tmp_path).read_text())
    assert (layout["engine"], layout["metric"], layout["items"], layout["dim"]) == ("flat", "cosine", 30, 4)
    assert VectorIndex.load(tmp_path).manifest["engine"] == "flat"


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_text(path.read_text().replace('"flat"', '"graph"'))
    with pytest.raises(ValueError, match="engine 'graph', this code knows flat, ivf, compressed"):
        VectorIndex.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no finished index"), ("{", "damaged"), ("[]", "damaged"), ('{"format": 1}', "damaged")],
)
def test_a_folder_without_a_whole_layout_is_no_index(tmp_path: Path, content: str | None, message: str) -> None:
    path = saved(tmp_path)
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ValueError, match=message):
        VectorIndex.load(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ValueError, match="format 2, this code reads 1"):
        VectorIndex.load(tmp_path)
