"""Evidence goes to files and back; what isn't plain, known or whole is refused with the file's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.embedding import EmbeddingHealth
from recsys.diagnose.files import kinds, load_evidence, save_evidence
from recsys.diagnose.repetition import ClickedItems
from recsys.diagnose.training import TrainingTrace
from recsys.report.evidence_fields import markdown


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    trace = TrainingTrace(loss=torch.arange(4.0), margin=0.5, active=torch.ones(4))
    save_evidence(Evidence.of(EmbeddingHealth(torch.randn(5, 3)), trace), tmp_path)
    found = load_evidence(tmp_path)
    held = found.get(TrainingTrace)
    assert torch.equal(held.loss, trace.loss)
    assert held.margin == 0.5
    assert held.gradient is None
    assert found.get(EmbeddingHealth).vectors.shape == (5, 3)


def test_an_array_file_alone_is_enough(tmp_path: Path) -> None:
    np.savez(tmp_path / "ClickedItems.npz", clicks=np.zeros((2, 3), np.int64))
    assert load_evidence(tmp_path).get(ClickedItems).clicks.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "arrays", "told"),
    [
        ("Nonsense", {"x": np.zeros(2)}, "no evidence is called 'Nonsense'"),
        ("ClickedItems", {"clicks": np.zeros((2, 2)), "more": np.zeros(1)}, r"unknown \['more'\]"),
        ("ServedLists", {"vectors": np.zeros((2, 2))}, r"needs \['found', 'queries', 'shown'\]"),
    ],
)
def test_what_is_unknown_or_missing_is_named(
    tmp_path: Path, name: str, arrays: dict[str, np.ndarray], told: str
) -> None:
    np.savez(tmp_path / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=told):
        load_evidence(tmp_path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "ClickedItems.npz", clicks=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="can't be read as plain arrays"):
        load_evidence(tmp_path)


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    save_evidence(Evidence.of(ClickedItems(torch.zeros(2, 2, dtype=torch.int64))), tmp_path)
    path = tmp_path / "ClickedItems.npz"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="ClickedItems"):
        load_evidence(tmp_path)
    (tmp_path / "ClickedItems.json").write_text("{")
    path.unlink()
    with pytest.raises(ValueError, match="ClickedItems"):
        load_evidence(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        load_evidence(tmp_path / "nowhere")


def test_every_kind_is_documented_with_its_fields() -> None:
    text = markdown()
    for name, kind in kinds().items():
        assert f"### {name}" in text
        assert kind.__doc__, name
    assert "| `shown` | array | [Q, k] int64 |" in text
