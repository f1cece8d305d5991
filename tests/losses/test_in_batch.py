"""The softmax over a batch against a loop over explicit rivals, and against the softmax over a pool."""

from __future__ import annotations

import math

import pytest
import torch

from recsys.candidates import Candidates
from recsys.losses.in_batch import InBatchSoftmax, collisions
from recsys.losses.softmax import SampledSoftmax
from recsys.random import torch_rng

QUERY = torch.tensor([5, 5, 7, -1, -1, 7, 9])
ITEM = torch.tensor([1, 2, 1, 3, 3, 4, 4])


def batch(num: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch_rng(0, "batch")
    vectors = torch.nn.functional.normalize(torch.randn(2, num, 4, generator=generator, dtype=torch.float64), dim=2)
    return vectors[0], vectors[1], torch.randn(num, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("mask", ["item", "query"])
@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("hard", [False, True])
def test_it_is_a_loop_over_rivals(mask: str, corrected: bool, hard: bool) -> None:
    asked, found, log_q = batch()
    scores = asked @ found.T
    mined = torch.randn(7, 3, generator=torch_rng(0, "mined"), dtype=torch.float64) if hard else None
    losses = InBatchSoftmax(temperature=0.2, mask=mask, corrected=corrected)(scores, QUERY, ITEM, log_q, mined)  # type: ignore[arg-type]
    for i in range(7):

        def logit(j: int, row: int = i) -> float:
            return float(scores[row, j]) / 0.2 - (float(log_q[j]) if corrected else 0)

        rivals = [logit(j) for j in range(7) if ITEM[j] != ITEM[i]
                  and not (mask == "query" and QUERY[i] >= 0 and QUERY[j] == QUERY[i])]  # fmt: skip
        rivals += [] if mined is None else [float(held) / 0.2 for held in mined[i]]
        total = math.log(sum(map(math.exp, [logit(i), *rivals])))
        assert float(losses[i]) == pytest.approx(total - logit(i))


def test_by_item_it_is_the_softmax_over_a_pool() -> None:
    asked, found, log_q = batch()
    pool = Candidates(found, ITEM, log_q)
    other = SampledSoftmax()(asked / 0.3, pool, torch.arange(7))
    ours = InBatchSoftmax(temperature=0.3, corrected=True)(asked @ found.T, QUERY, ITEM, log_q)
    assert torch.allclose(ours, other, atol=1e-9)


def test_a_batch_of_one_query_has_nothing_to_learn() -> None:
    scores = torch.randn(4, 4, generator=torch_rng(0, "scores"), requires_grad=True)
    losses = InBatchSoftmax(mask="query")(scores, torch.full((4,), 3), torch.arange(4), torch.zeros(4))
    assert torch.equal(losses, torch.zeros(4))
    losses.sum().backward()
    assert scores.grad is not None
    assert float(scores.grad.abs().max()) == 0


def test_collisions_are_counted() -> None:
    alone = torch.where(QUERY >= 0, QUERY, -1 - torch.arange(7))
    assert collisions(alone, ITEM).tolist() == pytest.approx([1 / 5, 1 / 6, 1 / 5, 0, 0, 1 / 5, 0])
