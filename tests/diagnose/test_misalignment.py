"""The two-stage detector on evidence made by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence, Part
from recsys.diagnose.misalignment import MisalignmentDetector
from recsys.diagnose.stages import IndexAudit, ScoreAudit, StageSwap, best_of

GENERATOR = torch.Generator().manual_seed(0)
VECTORS = F.normalize(torch.randn(200, 8, generator=GENERATOR), dim=1)
OTHERS = F.normalize(torch.randn(200, 8, generator=GENERATOR), dim=1)
SCORES = torch.randn(3000, generator=GENERATOR)
BEFORE = 0.5 + 0.1 * torch.randn(300, generator=GENERATOR)
INDEX = IndexAudit(VECTORS, VECTORS.clone())
MOVED = ScoreAudit(SCORES, 20 * SCORES)


def moved_by(amount: float) -> torch.Tensor:
    return BEFORE + amount + 0.05 * torch.randn(300, generator=torch.Generator().manual_seed(round(1e3 * amount) + 999))


def said(*parts: Part) -> str:
    return MisalignmentDetector()(Evidence.of(*parts)).cause


def swap(now: float, **others: float) -> StageSwap:
    held: dict[str, Any] = {name: moved_by(amount) for name, amount in others.items()}
    return StageSwap(BEFORE, moved_by(now), **held)


def test_index_faults_need_the_index_alone() -> None:
    half = torch.where((torch.arange(200) % 3 == 0)[:, None], OTHERS, VECTORS)
    assert said(IndexAudit(OTHERS, VECTORS)) == "stale_index"
    assert said(IndexAudit(half, VECTORS)) == "mixed_index"
    exact = torch.arange(40).view(4, 10)
    found = exact.clone()
    found[:, 5:] = -1
    assert said(IndexAudit(VECTORS, VECTORS, found, exact)) == "coarse_index"


def test_half_precision_is_not_a_stale_index() -> None:
    held = IndexAudit(VECTORS.half().float(), VECTORS)
    assert said(held, swap(0.0, mapped=0.0, retrained=0.0)) == HEALTHY


def test_without_exchanges_the_rest_is_open() -> None:
    found = MisalignmentDetector()(Evidence.of(INDEX, MOVED))
    assert found.cause == ABSTAIN
    assert "retrained" in (found.next_experiment or "")


def test_the_exchange_that_helps_names_the_stage() -> None:
    assert said(INDEX, MOVED, swap(-0.2, mapped=0.05, retrained=0.05)) == "score_contract"
    assert said(INDEX, MOVED, swap(-0.2, mapped=-0.2, retrained=0.05)) == "candidate_shift"
    assert said(INDEX, MOVED, swap(-0.2, mapped=-0.2, retrained=-0.2)) == "objective"
    assert said(INDEX, MOVED, swap(0.1, mapped=0.1, retrained=0.1)) == HEALTHY  # a shifted score alone convicts nobody


def test_a_map_that_helps_without_a_shift_is_not_the_contract() -> None:
    same = ScoreAudit(SCORES, SCORES.flip(0))
    assert said(INDEX, same, swap(-0.2, mapped=0.05, retrained=0.05)) == HEALTHY


def test_rivals_are_rejected_with_their_numbers() -> None:
    found = MisalignmentDetector()(Evidence.of(INDEX, MOVED, swap(-0.2, mapped=0.05, retrained=0.05)))
    assert set(found.rejected) == set(MisalignmentDetector.causes) - {"score_contract"}
    assert "0.0% of the stored vectors" in found.rejected["stale_index"]
    assert all(row.value == row.value for row in found.evidence)


def test_fidelity_counts_what_the_index_found_in_any_order() -> None:
    exact = torch.tensor([[1, 2, 3, -1], [4, 5, 6, 7]])
    found = torch.tensor([[3, 9, 1, 8], [7, 6, 5, 4]])
    assert IndexAudit(VECTORS, None, found, exact).fidelity() == pytest.approx(6 / 7)
    assert IndexAudit(VECTORS).fidelity() is None
    with pytest.raises(ValueError, match="same items"):
        IndexAudit(VECTORS, VECTORS[:3])


def test_the_best_exchange_and_its_paired_gain() -> None:
    held = swap(-0.2, mapped=0.05, retrained=-0.1)
    assert torch.equal(best_of(held), held.mapped)  # type: ignore[arg-type]
    difference = (held.mapped - held.now).double()  # type: ignore[operator]
    assert held.gain(held.mapped, held.now) == pytest.approx(float(difference.mean() / difference.std() * 300**0.5))
    assert held.gain(held.now, held.now) == 0
    assert held.gain(None, held.now) != held.gain(None, held.now)
