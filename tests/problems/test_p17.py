"""What is special to the collapse of triplets."""

from __future__ import annotations

import pytest
import torch

from problems.p17_triplet_collapse import CHANCE, PROBLEM, recipe
from recsys.recipe import with_steps
from recsys.worlds.latent import HELD_OUT, LatentClasses


def test_chance_is_that_of_the_held_out_classes() -> None:
    logs, _ = LatentClasses().sample(0)
    sizes = torch.bincount(logs.labels[logs.part == HELD_OUT]).double()
    total = sizes.sum()
    assert pytest.approx(float((sizes * (sizes - 1)).sum() / (total * (total - 1))), abs=1e-4) == CHANCE


def test_a_trace_has_a_row_a_step_and_replays_are_short() -> None:
    made = with_steps(recipe(num_classes=30, items_a_class=12), 3)
    logs, _ = made.world.sample(0)
    fitted = made.fit(logs, 0)
    assert {len(held) for held in fitted.recorder.series().values()} == {3}


@pytest.mark.parametrize("arm", ["baseline", "semihard", "infonce", "curriculum"])
def test_small_and_skewed_worlds_are_sane_settings(arm: str) -> None:
    made = with_steps(PROBLEM.build(arm, {"num_classes": 9, "items_a_class": 10, "skew": 0.9, "noise": 0.0}), 2)
    logs, truth = made.world.sample(1)
    metrics = made.evaluate(made.fit(logs, 1), logs, truth)
    assert all(held == held for name, held in metrics.items() if name != "unsettled")
