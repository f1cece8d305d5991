"""Losses over a query's own list."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recsys.losses.distil import ListDistillation
from recsys.losses.own_negatives import OwnNegatives


def test_distillation_is_kl_up_to_the_teachers_entropy_and_teaches_the_student_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 9, generator=generator, dtype=torch.float64).unbind(0)
    student, teacher = student.requires_grad_(), teacher.requires_grad_()
    share = (teacher / 2).softmax(1)
    wanted = F.kl_div(student.log_softmax(1), share, reduction="none").sum(1) - (share * share.log()).sum(1)
    found = ListDistillation(temperature=2.0)(student, teacher)
    assert torch.allclose(found, wanted)
    found.sum().backward()
    assert teacher.grad is None
    assert torch.allclose(student.grad, student.softmax(1) - share)  # type: ignore[arg-type]


def test_own_negatives_is_cross_entropy_of_each_querys_list() -> None:
    generator = torch.Generator().manual_seed(1)
    query, positive = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64).unbind(0)
    negatives = torch.randn(4, 3, 6, generator=generator, dtype=torch.float64)
    found = OwnNegatives(temperature=0.5)(query, positive, negatives)
    for b in range(4):
        scores = torch.stack([query[b] @ v / 0.5 for v in (positive[b], *negatives[b])])
        assert float(found[b]) == pytest.approx(float(F.cross_entropy(scores[None], torch.tensor([0]))))


@pytest.mark.parametrize("loss", [ListDistillation, OwnNegatives])
def test_a_temperature_is_positive(loss: type) -> None:
    with pytest.raises(ValueError, match="temperature"):
        loss(temperature=0.0)
