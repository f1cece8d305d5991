"""Evidence that training writes: the same weights with it and without, and numbers that a slow computation confirms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from recsys.train.assemble import assemble, train
from recsys.train.loop import begin
from tests.train.conftest import plan

Told = list[tuple[int, str, dict[str, float]]]


def trained(shop: Path, folder: Path, evidence: bool) -> tuple[dict[str, torch.Tensor], Told]:
    told: Told = []
    held = train(
        plan(shop, folder, evidence=evidence, trace_every=2, validate_every=2), "cpu", lambda *given: told.append(given)
    )
    return dict(held.model.state_dict()), told


@pytest.fixture(scope="module")
def both(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict, Told]:
    folder = tmp_path_factory.mktemp("observe")
    without, _ = trained(shop, folder / "a", evidence=False)
    with_it, told = trained(shop, folder / "b", evidence=True)
    return without, with_it, told


def test_looking_changes_nothing(both: tuple[dict, dict, Told]) -> None:
    without, with_it, _ = both
    assert all(torch.equal(without[name], with_it[name]) for name in without)


def test_every_kind_is_told(both: tuple[dict, dict, Told]) -> None:
    by_kind = {kind: numbers for _, kind, numbers in both[2]}
    assert {"gradient", "evidence", "quality", "noise"} <= set(by_kind)
    evidence, quality = by_kind["evidence"], by_kind["quality"]
    assert {"embedding.norm", "embedding.spread", "embedding.cosine", "embedding.rank"} <= set(evidence)
    assert evidence["embedding.norm"] == pytest.approx(1, abs=1e-5)
    assert sum(v for k, v in evidence.items() if k.startswith("exposure.surface.")) == pytest.approx(1)
    assert "quality.retrieval" in quality
    assert all(0 <= held <= 1 for name, held in quality.items() if name == "quality.retrieval")
    assert by_kind["noise"].keys() == {name.replace("quality", "noise") for name in quality}
    assert all(held >= 0 for held in by_kind["noise"].values())


def test_quality_is_the_auc_of_the_fixed_rows(shop: Path, tmp_path: Path) -> None:
    run = assemble(plan(shop, tmp_path, evidence=True), "cpu", lambda *_: None)
    assert run.observer is not None
    model = begin(run).model
    quality = run.observer.checked(model, run.objective)
    batch, spec = run.observer.batch, run.observer.spec
    with torch.no_grad():
        logits = model.eval()(batch, run.objective.catalogue, run.objective.users, batch.rows.values[:0]).rank_logits
    for t, task in enumerate(spec.tasks):
        labels = batch.labels[:, t].numpy()
        known = ~np.isnan(labels)
        if task.kind == "binary" and len(set(labels[known])) == 2:
            wanted = roc_auc_score(labels[known], logits[known, t].numpy())
            assert quality[f"quality.{task.name}"] == pytest.approx(wanted)
