"""The small cross encoder against a loop over word pairs, and what a retriever hears of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from recsys.heads.kernel_pooling import KernelPooling, KernelPoolingModule
from recsys.recipes.cross_teacher import CrossTeacher
from recsys.train.fit import Fit, Lesson

QUERY, TEXT = torch.tensor([[3, 7, 0], [5, 0, 0]]), torch.tensor([[7, 2, 9, 0], [5, 5, 1, 4]])


def slow(model: KernelPoolingModule, query: list[int], text: list[int]) -> float:
    words = torch.nn.functional.normalize(model.words.detach().double(), dim=1)
    centres, spreads = model.get_buffer("centre").tolist(), model.get_buffer("spread").tolist()
    total = [0.0] * len(centres)
    for q in (word for word in query if word):
        counts = [0.0] * len(centres)
        for t in (word for word in text if word):
            cosine = 1.0 if q == t else float(words[q] @ words[t])
            for k, (centre, spread) in enumerate(zip(centres, spreads, strict=True)):
                counts[k] += math.exp(-((cosine - centre) ** 2) / (2 * spread**2))
        for k, count in enumerate(counts):
            total[k] += 0.1 * math.log(max(count, 1e-10))
    return sum(held * weight for held, weight in zip(total, model.weight.tolist(), strict=True))


@pytest.mark.parametrize("kernels", [2, 5, 11])
def test_scores_are_those_of_a_loop(kernels: int) -> None:
    model = KernelPooling(dim=5, kernels=kernels).build(10, 0)
    with torch.no_grad():
        found = model(QUERY, TEXT)
    wanted = [slow(model, query, text) for query, text in zip(QUERY.tolist(), TEXT.tolist(), strict=True)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-4)


def test_order_and_padding_say_nothing() -> None:
    model = KernelPooling(dim=5).build(10, 0)
    with torch.no_grad():
        turned = model(QUERY[:, [1, 0, 2]], TEXT[:, [3, 1, 0, 2]])
        longer = model(torch.nn.functional.pad(QUERY, (0, 2)), torch.nn.functional.pad(TEXT, (0, 1)))
        assert torch.allclose(model(QUERY, TEXT), turned, atol=1e-5)
        assert torch.allclose(model(QUERY, TEXT), longer, atol=1e-5)


def lesson(words: Tensor, item: Tensor) -> Lesson:
    def nothing(*_: object) -> Tensor:
        raise AssertionError("the retriever's loss isn't the teacher's")

    nobody = torch.zeros_like(item)
    return Lesson((words, nobody, nobody, item), nothing, None, lambda step: torch.randperm(len(item))[:32])


def test_the_teacher_learns_from_clicks_and_the_student_from_its_lists() -> None:
    torch.manual_seed(0)
    titles = torch.randint(1, 30, (40, 5))
    words = titles[:, :2]
    spec = CrossTeacher(train=Fit(steps=60, batch=32, learning_rate=3e-2, checks=1), listed=4, taught=8)
    model = spec.fit(lesson(words, torch.arange(40)), titles, 0).model
    with torch.no_grad():
        own, other = model(words, titles), model(words, titles.roll(1, 0))
    assert float((own > other).double().mean()) > 0.9
    logits = torch.zeros(8, 8, requires_grad=True)
    spec.loss(model, words[:8], titles[:8], logits).backward()
    assert logits.grad is not None
    listed = torch.zeros(8, 8, dtype=torch.bool)
    listed.scatter_(1, spec.lists(8), True)
    assert torch.equal(logits.grad != 0, listed)
    assert bool((logits.grad.diagonal() < 0).double().mean() > 0.5)
    assert spec.lists(8)[7].tolist() == [7, 0, 1, 2]
