"""What tasks share and what they don't, by where gradients go."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from recsys.heads.task_towers import TaskTowers

Sharing = Literal["shared", "joined", "ple", "alone"]


def touched(spec: TaskTowers, task: int) -> set[str]:
    model = spec.build(5, [0.0, 0.0, 0.0], seed=0)
    model(torch.randn(7, 5))[:, task].sum().backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}


@pytest.mark.parametrize("sharing", ["shared", "joined", "ple", "alone"])
def test_only_what_is_called_shared_gets_gradients_of_every_task(sharing: Sharing) -> None:
    spec = TaskTowers(sharing=sharing, width=3, hidden=9)
    model = spec.build(5, [0.0, 0.0, 0.0], seed=0)
    shared = {name for name, p in model.named_parameters() if any(p is q for q in spec.shared(model))}
    common = touched(spec, 0) & touched(spec, 1) & touched(spec, 2) - {"factor", "offset"}
    assert common <= shared
    assert bool(shared) == (sharing != "alone")


def test_joined_tasks_share_a_head_and_only_they() -> None:
    heads = [{n for n in touched(TaskTowers(sharing="joined"), t) if n.startswith("heads")} for t in range(3)]
    assert heads[0] == heads[1]
    assert not heads[0] & heads[2]


def test_answers_begin_near_their_priors_and_ple_is_as_large_as_a_trunk() -> None:
    priors = [-2.0, 0.5, 40.0]
    x = torch.randn(100, 32, generator=torch.Generator().manual_seed(0))
    sizes = {}
    for sharing in ("shared", "ple"):
        model = TaskTowers(sharing=sharing).build(32, priors, seed=1)  # type: ignore[arg-type]
        assert torch.allclose(model(x).mean(0), torch.tensor(priors), atol=0.8)
        sizes[sharing] = sum(p.numel() for p in model.parameters())
    assert max(sizes.values()) / min(sizes.values()) < 1.1


def test_same_seed_same_weights() -> None:
    one, two, other = (TaskTowers().build(6, [0.0] * 3, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)
