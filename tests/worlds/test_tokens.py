"""The language is what it says it is."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from recsys.worlds.tokens import Tokens, _Meaning

SMALL = Tokens(num_tokens=40, num_items=200, num_broad=800, num_clicked=100, num_unlabelled=300, num_held_out=80)


def slow_meaning(meaning: _Meaning, query: list[int]) -> Tensor:
    total, tokens = torch.zeros(meaning.own.shape[1]), [token for token in query if token]
    for place, token in enumerate(tokens):
        before = meaning.family[tokens[place - 1]] if place else -1
        after = tokens[place + 1] if place + 1 < len(tokens) else 0
        acts = meaning.family[token] >= 0
        if acts and after and meaning.family[after] < 0:
            continue  # it acts on the next
        total += meaning.rotation[before] @ meaning.own[token] if before >= 0 and not acts else meaning.own[token]
    return normalize(total, dim=0)


def test_meanings_are_those_of_a_loop() -> None:
    meaning = _Meaning.of(SMALL, 3)
    queries = SMALL.sample(3).logs.held_out
    slow = torch.stack([slow_meaning(meaning, query) for query in queries.tolist()])
    assert torch.allclose(meaning(queries), slow, atol=1e-5)


def test_the_same_seed_gives_the_same_bits_and_other_sizes_leave_streams_alone() -> None:
    a, b, c = SMALL.sample(1).logs, SMALL.sample(1).logs, SMALL.sample(2).logs
    for field in fields(a):
        assert torch.equal(getattr(a, field.name), getattr(b, field.name))
    assert not torch.equal(a.items, c.items)
    more = Tokens(**{name: getattr(SMALL, name) for name in ("num_tokens", "num_items", "num_broad", "num_held_out")})
    assert torch.equal(a.broad, more.sample(1).logs.broad)
    assert torch.equal(a.held_out, more.sample(1).logs.held_out)


def test_order_matters_where_it_says_so_and_nowhere_without_the_switch() -> None:
    meaning = _Meaning.of(SMALL, 0)
    logs, truth = SMALL.sample(0)
    assert 0.3 < float(truth.ordered.mean()) < 0.8
    plain = logs.held_out[truth.ordered == 0]
    pairs = torch.tensor([[a, b, 0, 0, 0] for a in range(1, 41) for b in range(1, 41)])
    swapped = pairs[:, [1, 0, 2, 3, 4]]
    same = (meaning(pairs) * meaning(swapped)).sum(1)
    acting = meaning.turned(pairs).any(1) | meaning.turned(swapped).any(1)
    assert float(same[~acting].min()) > 1 - 1e-5
    assert float((same[acting] < 0.99).float().mean()) > 0.95
    assert len(plain)
    _, flat = Tokens(**{**{f.name: getattr(SMALL, f.name) for f in fields(SMALL)}, "order": 0.0}).sample(0)
    assert float(flat.ordered.max()) == 0


def test_queries_are_padded_at_the_end_and_have_two_to_five_tokens() -> None:
    queries = SMALL.sample(0).logs.unlabelled
    length = (queries > 0).sum(1)
    assert length.unique().tolist() == [2, 3, 4, 5]
    assert bool(((queries > 0) == (torch.arange(5) < length[:, None])).all())
    assert int(queries.max()) <= 40


def test_tokens_of_the_domain_follow_their_law_and_others_are_even() -> None:
    logs, _ = Tokens(num_broad=60_000).sample(0)
    broad = logs.broad[logs.broad > 0].bincount(minlength=121)[1:].float()
    assert float(broad.std() / broad.mean()) < 0.05
    domain = logs.unlabelled[logs.unlabelled > 0].bincount(minlength=121)[1:].float().sort(descending=True).values
    assert float(domain[0] / domain[15]) == pytest.approx(16**0.7, rel=0.25)


def test_clicks_lie_among_the_ten_nearest_and_the_nearest_leads() -> None:
    logs, truth = SMALL.sample(0)
    meaning = _Meaning.of(SMALL, 0)
    near = (meaning(logs.broad) @ truth.items.T).topk(10, dim=1).indices
    rank = (near[:, None] == logs.broad_clicks[:, :, None]).float()  # [B, 4, 10]
    assert bool((rank.sum(2) == 1).all())
    share = rank.mean((0, 1))
    assert float(share[0]) == float(share.max())


def test_settings_that_mean_nothing_are_named() -> None:
    with pytest.raises(ValueError, match=r"order must lie in \[0, 1\], got 2"):
        Tokens(order=2)
