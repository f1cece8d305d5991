"""Losses of distillation against torch's own and by hand."""

from __future__ import annotations

import torch
from torch.nn.functional import kl_div, normalize

from recsys.losses.distil import EmbeddingDistill, ScoreDistill
from recsys.random import torch_rng


def test_embeddings_by_a_loop_and_scores_by_torch() -> None:
    student, teacher, items = (
        normalize(torch.randn(num, 6, generator=torch_rng(0, name)), dim=1)
        for num, name in ((5, "student"), (5, "teacher"), (9, "items"))
    )
    slow = [
        sum((a - b) ** 2 for a, b in zip(x.tolist(), y.tolist(), strict=True))
        for x, y in zip(student, teacher, strict=True)
    ]
    assert torch.allclose(EmbeddingDistill()(student, teacher), torch.tensor(slow), atol=1e-6)
    loss = ScoreDistill(temperature=0.5)
    wanted, given = ((held @ items.T / 0.5).log_softmax(1) for held in (teacher, student))
    theirs = kl_div(given, wanted, reduction="none", log_target=True).sum(1) * 0.25
    assert torch.allclose(loss(student, teacher, items), theirs, atol=1e-6)
    assert float(loss(teacher, teacher, items).abs().max()) < 1e-6


def test_only_the_student_learns() -> None:
    student, teacher, items = (torch.randn(4, 3, requires_grad=True) for _ in range(3))
    (EmbeddingDistill()(student, teacher) + ScoreDistill()(student, teacher, items)).sum().backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert items.grad is None
