"""Batches of several tasks: counts by hand."""

from __future__ import annotations

import pytest
import torch

from recsys.samplers.tasks import MixedTasks, TaskBlocks

TASK = torch.tensor([0, 1, 2, 2, 1, 0, 0, 0, 2])


def test_mixed_batches_hold_every_task_alike() -> None:
    draw = MixedTasks()(TASK, 12, seed=3)
    for step in range(5):
        assert torch.bincount(TASK[draw(step)]).tolist() == [4, 4, 4]
    assert torch.equal(draw(2), MixedTasks()(TASK, 12, seed=3)(2))
    assert not torch.equal(draw(2), draw(3))


def test_every_row_of_a_task_is_drawn_as_often() -> None:
    draw = MixedTasks()(TASK, 300, seed=0)
    times = torch.bincount(torch.cat([draw(step) for step in range(100)]), minlength=len(TASK))
    assert times[TASK == 0].float().std() / times[TASK == 0].float().mean() < 0.05


@pytest.mark.parametrize(("purity", "wanted"), [(1.0, [0, 10, 0]), (0.8, [1, 8, 1])])
def test_blocks_hold_one_task_and_take_turns(purity: float, wanted: list[int]) -> None:
    draw = TaskBlocks(length=4, purity=purity)(TASK, 10, seed=1)
    counts = [torch.bincount(TASK[draw(step)], minlength=3).tolist() for step in range(12)]
    assert counts[4:8] == [wanted] * 4
    assert counts[0] == counts[3] != counts[4]


def test_a_task_without_rows_is_named() -> None:
    with pytest.raises(ValueError, match="every task needs rows"):
        MixedTasks()(torch.tensor([0, 2]), 4, 0)
