"""The search world is what it says it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recsys.worlds.latent import HELD_OUT, TRAIN, VALIDATION
from recsys.worlds.latent_search import LatentSearch


def world(**given: object) -> LatentSearch:
    return LatentSearch(num_items=401, num_queries=307, **given)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    (logs, truth), (again, same), (other, _) = (world(accessories=0.2).sample(seed) for seed in (1, 1, 2))
    for name in ("queries", "items", "attributes", "pairs", "answers", "part"):
        assert torch.equal(getattr(logs, name), getattr(again, name)), name
    assert torch.equal(truth.utility, same.utility)
    assert not torch.equal(logs.answers, other.answers)


def test_answers_come_as_often_as_their_chance() -> None:
    logs, truth = world().sample(0)
    chance, answers = truth.utility.sigmoid().flatten(), logs.answers.flatten().float()
    for low, high in ((0, 0.01), (0.01, 0.1), (0.1, 0.4), (0.4, 0.9)):
        rows = (chance >= low) & (chance < high)
        error = (chance[rows] * (1 - chance[rows])).sum().sqrt() / rows.sum()
        assert abs(float(answers[rows].mean() - chance[rows].mean())) < 4 * float(error)


def test_utility_is_match_quality_and_price() -> None:
    logs, truth = world(accessories=0.3, penalty=5.0).sample(3)
    quality, price, accessory = logs.attributes.unbind(1)
    rest = truth.utility - (quality - price - 5 * accessory - 6)
    cosine = rest / 8
    assert float(cosine.abs().max()) <= 1 + 1e-5
    assert int(torch.linalg.matrix_rank(cosine.double(), rtol=1e-5)) == 12
    assert torch.equal(logs.listed, accessory == 0)


def test_accessories_look_like_a_product_and_are_new_and_unclicked() -> None:
    logs, _ = world(accessories=0.3).sample(4)
    accessories = ~logs.listed
    assert int(accessories.sum()) == round(0.3 * 401)
    looks = F.normalize(logs.items, dim=1) @ F.normalize(logs.items[logs.listed], dim=1).T
    assert float(looks[accessories].amax(1).mean()) > 0.85
    assert logs.listed[logs.pairs[:, 1]].all()
    assert float(logs.answers[:, accessories].float().mean()) < 0.2 * float(
        logs.answers[:, ~accessories].float().mean()
    )


def test_the_switch_off_leaves_everything_else_as_it_was() -> None:
    (without, plain), (with_them, _) = world().sample(5), world(accessories=0.2).sample(5)
    kept = with_them.listed
    assert without.listed.all()
    assert torch.equal(without.queries, with_them.queries)
    assert torch.equal(without.items[kept], with_them.items[kept])
    assert torch.equal(without.answers[:, kept], with_them.answers[:, kept])
    assert plain.utility.shape == (307, 401)


def test_clicks_and_parts_have_their_shares() -> None:
    logs, truth = world(clicks=5).sample(0)
    for part, share in ((HELD_OUT, 0.25), (VALIDATION, 0.15), (TRAIN, 0.6)):
        assert float((logs.part == part).float().mean()) == pytest.approx(share, abs=0.01)
    who, what = logs.pairs.unbind(1)
    assert (logs.part[who] == TRAIN).all()
    assert (torch.bincount(who, minlength=307)[logs.part == TRAIN] == 5).all()
    assert float(truth.utility[who, what].mean()) > float(truth.utility.mean()) + 3


def test_grades_are_shares_of_the_best() -> None:
    _, truth = world().sample(1)
    rows = torch.zeros(307, dtype=torch.bool).index_fill(0, torch.tensor([3, 8, 200]), True)
    grades = truth.grades(rows)
    assert grades.shape == (3, 401)
    assert [(grades == g).sum(1).tolist() for g in (3, 2, 1)] == [[2] * 3, [6] * 3, [12] * 3]
    order = truth.utility[rows].argsort(dim=1, descending=True)
    assert (grades.gather(1, order).diff(dim=1) <= 0).all()


@pytest.mark.parametrize("given", [{"accessories": 0.9}, {"num_items": 5}, {"validation": 0.6, "held_out": 0.5}])
def test_impossible_settings_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        LatentSearch(**given)  # type: ignore[arg-type]
