"""Rows for a retriever of searches: tempered frequencies, generated queries, rivals by words."""

from __future__ import annotations

import itertools

import pytest
import torch

from recsys.random import torch_rng
from recsys.samplers.balanced import Balanced
from recsys.samplers.capped import Capped
from recsys.samplers.click_walk import ClickWalk
from recsys.samplers.lexical_negatives import LexicalNegatives
from recsys.samplers.query_generator import QueryGenerator

ITEMS = torch.tensor([[1, 2, 3, 9], [4, 5, 6, 9], [1, 5, 7, 9]])
QUERIES = torch.tensor([[1, 2, 0], [4, 5, 6], [7, 3, 0], [1, 5, 0]])


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_queries_come_as_frequency_to_the_power(power: float) -> None:
    counts = torch.tensor([64.0, 16, 4, 1])
    clicks = torch.arange(4).repeat_interleave(counts.long())
    weights = Balanced(batch=1, strength=1 - power).weights(clicks)
    share = torch.zeros(4, dtype=torch.float64).index_add_(0, clicks, weights)
    assert torch.allclose(share, (counts**power / (counts**power).sum()).double())


@pytest.mark.parametrize(("power", "cap"), [(1.0, 5), (0.5, 20), (1.0, 1)])
def test_clicks_beyond_the_cap_of_their_query_count_nothing(power: float, cap: int) -> None:
    counts = torch.tensor([64, 16, 4, 1])
    clicks = torch.arange(4).repeat_interleave(counts)
    weights = Capped(batch=1, strength=1 - power, cap=cap).weights(clicks)
    capped = torch.tensor([min(count, cap) ** power for count in counts.tolist()]).double()
    for query, count in enumerate(counts.tolist()):
        held = weights[clicks == query]
        assert torch.allclose(held, capped[query] / capped.sum() / count)


@pytest.mark.parametrize("rounds", [1, 2])
def test_walks_go_as_often_as_products_of_transitions_say(rounds: int) -> None:
    generator = torch.Generator().manual_seed(0)
    clicks = torch.stack(
        [torch.randint(5, (40,), generator=generator), torch.randint(7, (40,), generator=generator)], 1
    )
    edges = torch.zeros(5, 7, dtype=torch.float64).index_put_(tuple(clicks.T), torch.ones(()).double(), accumulate=True)
    forth, back = edges / edges.sum(1, keepdim=True), (edges / edges.sum(0)).T
    wanted = edges @ torch.linalg.matrix_power(back @ forth, rounds)  # [queries, items], of as many walks as clicks
    found = ClickWalk(rounds=rounds, per_click=3000)(clicks, seed=1)
    counts = torch.zeros_like(edges).index_put_(tuple(found.T), torch.ones(()).double(), accumulate=True) / 3000
    assert float((counts - wanted).abs().max()) < 5 * float((wanted.max() / 3000).sqrt())
    assert torch.equal(found, ClickWalk(rounds=rounds, per_click=3000)(clicks, seed=1))


def test_generated_words_are_drawn_by_their_weights_without_replacement() -> None:
    generator = QueryGenerator(num=60_000, unused=0.2)
    words, item = generator(ITEMS, QUERIES[:1], seed=0)  # only words 1 and 2 are ever typed, in queries of two
    assert bool((item.bincount(minlength=3) / 60_000 - 1 / 3).abs().max() < 0.01)
    weight = {1: 1.0, 2: 1.0, 3: 0.2, 9: 0.2}
    total = sum(weight.values())
    drawn = words[item == 0][:, :2]
    for first, second in itertools.permutations(weight, 2):
        wanted = weight[first] / total * weight[second] / (total - weight[first])
        found = ((drawn[:, 0] == first) & (drawn[:, 1] == second)).double().mean()
        assert float(found) == pytest.approx(wanted, abs=0.01)


def test_generated_queries_have_logged_lengths_and_their_item_s_words() -> None:
    words, item = QueryGenerator(num=500)(ITEMS, QUERIES, seed=1)
    assert words.shape == (500, 3)
    lengths = (words > 0).sum(1)
    assert float((lengths == 3).double().mean()) == pytest.approx(0.25, abs=0.06)
    for query, of in zip(words.tolist(), item.tolist(), strict=True):
        held = [word for word in query if word]
        assert set(held) <= set(ITEMS[of].tolist())
        assert len(set(held)) == len(held)
        assert query == held + [0] * (3 - len(held))
    again, _ = QueryGenerator(num=500)(ITEMS, QUERIES, seed=1)
    assert torch.equal(words, again)
    with pytest.raises(ValueError, match="an item has 2 words, fewer than a query of 3"):
        QueryGenerator(num=5)(torch.tensor([[1, 2, 0]]), QUERIES, seed=0)


def test_rivals_share_words_were_not_clicked_and_lack_one_where_asked() -> None:
    generator = torch_rng(0, "items")
    items = torch.randint(1, 12, (60, 4), generator=generator)
    queries = torch.randint(1, 12, (10, 2), generator=generator)
    clicks = torch.stack([torch.arange(10), torch.randint(60, (10,), generator=generator)], 1)
    for lacking in (False, True):
        spec = LexicalNegatives(num=3, depth=6, lacking=lacking)
        table = spec.table(items, queries, clicks)
        for query, row, own in zip(queries.tolist(), table.tolist(), clicks[:, 1].tolist(), strict=True):
            texts = [set(items[i].tolist()) for i in row if i >= 0]
            assert own not in row
            assert all(set(query) & text for text in texts)
            assert not lacking or not any(set(query) <= text for text in texts)
        drawn = spec(table, seed=0, step=1)
        assert drawn.shape == (10, 3)
        assert bool((drawn[:, :, None] == table[:, None]).any(2).all())
        assert torch.equal(drawn, spec(table, seed=0, step=1))
        assert torch.equal(drawn < 0, (table < 0).all(1, keepdim=True).expand(-1, 3))
    nobody = LexicalNegatives(num=2, depth=5).table(torch.tensor([[1], [2]] * 3), torch.tensor([[9, 0]]), clicks[:0])
    assert nobody.tolist() == [[-1] * 5]
