"""What is special to a log that the head dominates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from problems.p45_tail_queries import PROBLEM, recipe
from recsys.diagnose.tail_queries import JudgedQueries, QueryBatches, SearchRefits
from recsys.encoders.query import Transformer
from recsys.recipe import with_steps
from recsys.recipes.search_towers import SearchTowers
from recsys.samplers.query_generator import QueryGenerator

SMALL = {
    "facets": (12, 10, 8), "synonyms": 5, "num_items": 500, "num_queries": 700, "num_head": 50, "num_clicks": 6000,
    "num_held_out": (30, 60), "num_judged": (20, 40),
}  # fmt: skip


def built(arm: str, steps: int = 3, **world: object) -> SearchTowers:
    made = with_steps(PROBLEM.build(arm, {**SMALL, **world}), steps)
    assert isinstance(made, SearchTowers)
    return made


@pytest.mark.parametrize("arm", ["baseline", "tempered_more", "generated"])
def test_log_q_is_how_often_batches_hold_an_item(arm: str) -> None:
    made = built(arm)
    logs = made.world.sample(0).logs
    rows = made.rows(logs, 0)
    drawn = torch.cat([rows.item[made.drawn(rows, 0, step)] for step in range(400)])
    found = drawn.bincount(minlength=len(logs.items)).double() / 400
    wanted = made.log_expected(rows, len(logs.items)).double().exp()
    assert float(wanted.sum()) == pytest.approx(256, rel=1e-4)
    assert (
        float(((found - wanted) / (wanted / 400).sqrt().clamp(min=1e-6))[wanted > 0].abs().mean()) < 1
    )  # 0.8 if Poisson
    assert not bool(((wanted == 0) & (found > 0)).any())


def test_three_rows_in_ten_are_generated_and_never_from_tested_queries() -> None:
    made = built("generated")
    logs = made.world.sample(0).logs
    rows = made.rows(logs, 0)
    assert float((rows.query[made.drawn(rows, 0, 5)] < 0).double().mean()) == pytest.approx(0.3, abs=0.01)
    blind = type(logs)(
        **{**vars(logs), "held_out": torch.ones_like(logs.held_out), "judged": torch.ones_like(logs.judged)}
    )
    assert torch.equal(made.rows(blind, 0).words, rows.words)


def test_unseen_queries_are_read_by_their_words_and_seen_ones_also_by_their_id() -> None:
    made = built("baseline")
    logs = made.world.sample(0).logs
    model = made.fit(logs, 0).model
    words, ids = logs.held_out[:2], torch.tensor([1, 1])
    with torch.no_grad():
        unknown = model.query(words, ids)  # type: ignore[operator]
        known = model.query(words, torch.tensor([5, 6]))  # type: ignore[operator]
        told = model.text(words)  # type: ignore[operator]
    assert torch.allclose(unknown, told, atol=1e-6)  # an untrained unknown vector is nothing
    assert not torch.allclose(known, told, atol=1e-3)


def test_routing_leaves_the_head_alone_and_fusing_does_not() -> None:
    made = [built(arm) for arm in ("baseline", "routed", "hybrid")]
    logs = made[0].world.sample(0).logs
    model = made[0].fit(logs, 0).model
    plain, routed, fused = (each.scores(model, logs, logs.held_out, logs.held_out_id) for each in made)  # type: ignore[arg-type]
    new = logs.held_out_id == 1
    assert torch.equal(plain[~new], routed[~new])
    assert torch.equal(fused[new], routed[new])
    assert not torch.equal(plain[new], fused[new])


def test_evidence_shows_the_batches_and_the_refits() -> None:
    shown = {}
    for arm in ("baseline", "combined", "no_ids"):
        made = built(arm)
        logs = made.world.sample(0).logs
        fitted = made.fit(logs, 0)
        shown[arm] = made.evidence(fitted, logs, 0)
    batches = {arm: held.get(QueryBatches) for arm, held in shown.items()}
    assert batches["baseline"].distinct.mean() < batches["combined"].distinct.mean() < 256
    assert batches["baseline"].collisions.mean() > 0.02
    assert batches["combined"].collisions.max() == 0
    own, refits = shown["no_ids"].get(JudgedQueries), shown["no_ids"].get(SearchRefits)
    assert (own.recall == refits.without_ids).all()
    assert (own.ablated == own.recall).all()  # type: ignore[union-attr]
    assert (shown["combined"].get(SearchRefits).masked == shown["combined"].get(JudgedQueries).recall).all()
    held = shown["baseline"].get(JudgedQueries)
    assert (held.found_covered + held.found_uncovered).sum() == pytest.approx((held.recall * held.relevant).sum())


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="items without titles need item_ids"):
        recipe(item_ids=False, more={"titles": False})
    with pytest.raises(ValueError, match=r"synthetic must lie in \[0, 1\), got 1"):
        recipe(synthetic=1.0)
    with pytest.raises(ValueError, match="num must be positive"):
        QueryGenerator(num=0)


def test_a_start_knows_texts_and_no_click() -> None:
    plain, begun = built("combined"), built("combined_started")
    logs = plain.world.sample(0).logs
    blind = replace(logs, clicks=logs.clicks.flip(0), queries=logs.queries.flip(0))
    first, same, other = (
        made.build(of, 0).text.get_parameter("table").detach()
        for made, of in ((plain, logs), (begun, logs), (begun, blind))
    )
    assert torch.equal(same, other)
    told = torch.zeros(len(first), dtype=torch.bool)
    told[logs.items.unique()] = True
    assert torch.equal(same[~told], first[~told])
    assert float((same[told] - first[told]).norm(dim=1).min()) > 0.1
    with pytest.raises(ValueError, match="to be a TokenBag"):
        replace(begun, encoder=Transformer(layers=1)).build(logs, 0)


def test_walks_add_as_many_labels_as_there_are_clicks_and_no_other_query() -> None:
    made = built("walked")
    logs = made.world.sample(0).logs
    rows = made.rows(logs, 0)
    num = len(logs.clicks)
    assert len(rows.item) == rows.clicks == 2 * num
    assert torch.equal(rows.item[:num], logs.clicks[:, 1])
    assert torch.equal(rows.query[num:], logs.clicks[:, 0])
    assert torch.equal(rows.words[num:], logs.queries[logs.clicks[:, 0]])
