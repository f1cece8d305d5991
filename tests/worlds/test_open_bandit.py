"""A shop's log of two policies: columns against a plain reading, and estimates against clicks over shows."""

from __future__ import annotations

import csv

import pytest
import torch

from recsys.data.packages import OPEN_BANDIT, locate
from recsys.recipes.place_propensity import PlacePropensity
from recsys.worlds.open_bandit import CAMPAIGNS, OpenBandit, shown


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    folder = locate(OPEN_BANDIT) / "obp" / "dataset" / "obd" / "random"
    found = []
    for campaign in CAMPAIGNS:
        with (folder / campaign / f"{campaign}.csv").open() as file:
            found += list(csv.DictReader(file))
    return found


def test_rows_are_the_file_s_own_and_no_garment_is_of_two_campaigns(rows: list[dict[str, str]]) -> None:
    held = shown("random")
    assert held.position[:, 0].tolist() == [int(row["position"]) for row in rows]
    assert held.click[:, 0].tolist() == [float(row["click"]) for row in rows]
    before = torch.tensor([0, 80, 114]).repeat_interleave(10_000)
    assert (held.item[:, 0] - before).tolist() == [int(row["item_id"]) for row in rows]
    assert held.features[:, 0, :3].sum(0).tolist() == [10_000.0] * 3


def test_a_seed_is_a_bootstrap_sample_and_the_estimate_is_clicks_over_shows(rows: list[dict[str, str]]) -> None:
    recipe = PlacePropensity(world=OpenBandit())
    logs, truth = recipe.world.sample(3)
    again, other = recipe.world.sample(3).logs, recipe.world.sample(4).logs
    assert torch.equal(logs.random.item, again.random.item)
    assert not torch.equal(logs.random.item, other.random.item)
    place, click = logs.random.position[:, 0], logs.random.click[:, 0]
    first, second = (float(click[place == at].mean()) for at in (1, 2))
    found = recipe.evaluate(recipe.fit(logs, 3), logs, truth)
    assert found["look[2]"] == pytest.approx(second / first)
    assert found["off"] == 0
    assert found["clicks"] == float(click.sum())
    assert abs(found["clicks"] - sum(row["click"] == "1" for row in rows)) < 50
