"""Which parameters retrieval and ranking share, by where gradients go."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recsys.heads.joint_towers import Encoded, JointModel, JointTowers

USERS, ITEMS = torch.randn(6, 5), torch.randn(9, 5)


def touched(model: JointModel, task: str) -> set[str]:
    model.zero_grad(set_to_none=True)
    seen: Encoded = model(USERS, ITEMS)
    if task == "retrieval":
        (seen.find_user @ seen.find_item.T).square().sum().backward()
    else:
        model.rank(seen.rank_user, seen.rank_item[:6]).square().sum().backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}


@pytest.mark.parametrize("sharing", ["shared", "private", "separate", "joined"])
def test_shared_is_what_both_tasks_train(sharing: str) -> None:
    spec = JointTowers(sharing=sharing, width=4)  # type: ignore[arg-type]
    model = spec.build(5, 0.2, seed=0)
    both = touched(model, "retrieval") & touched(model, "ranking")
    assert both == {name for name, p in model.named_parameters() if any(p is q for q in spec.shared(model))}


def test_a_stopped_gradient_trains_retrievals_projection_alone() -> None:
    model = JointTowers(sharing="private", stop_gradient=True).build(5, 0.2, seed=0)
    assert touched(model, "retrieval") == {f"projections.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    with pytest.raises(ValueError, match="stop_gradient"):
        JointTowers(stop_gradient=True)


def test_retrieval_vectors_are_of_unit_length_and_joined_scores_are_affine_in_them() -> None:
    model = JointTowers(sharing="joined", width=4).build(5, 0.2, seed=1)
    seen: Encoded = model(USERS, ITEMS)
    assert torch.allclose(seen.find_item.norm(dim=1), torch.ones(9))
    cosines: Tensor = (seen.find_user * seen.find_item[:6]).sum(1)
    assert torch.allclose(model.rank(seen.rank_user, seen.rank_item[:6]), model.factor * cosines + model.offset)


def test_half_the_width_makes_two_projections_as_large_as_one() -> None:
    sizes = [
        sum(p.numel() for p in spec.build(32, 0.2, seed=0).parameters())
        for spec in (JointTowers(width=8), JointTowers(sharing="private", width=4))
    ]
    assert max(sizes) / min(sizes) < 1.1
