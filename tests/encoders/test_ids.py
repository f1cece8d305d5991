"""Vectors of ids and of words that share rows."""

from __future__ import annotations

import pytest
import torch

from recsys.encoders.ids import HashedIds
from recsys.encoders.token_bag import TokenBag
from recsys.random import torch_rng


def test_an_id_is_a_sum_of_rows_and_unknown_ones_share_a_vector() -> None:
    model = HashedIds(buckets=50, num_hashes=2).build(6, 0, "ids").eval()
    with torch.no_grad():
        model.unknown.copy_(torch.arange(6.0))
        found = model(torch.tensor([1, 2, 3, 2, 0]))
        pairs = model.table[1:, None] + model.table[None, 1:]  # [50, 50, 6]
    assert torch.equal(found[1], found[3])
    assert torch.equal(found[0], torch.arange(6.0))
    assert torch.equal(found[4], found[0])
    for row in found[1:3]:
        assert float((pairs - row).abs().sum(2).min()) < 1e-6
    assert not torch.equal(found[1], found[2])


def test_dropped_ids_are_as_many_as_said_and_teach_the_unknown_vector() -> None:
    model = HashedIds(dropout=0.6).build(4, 0, "ids")
    ids = torch.arange(2, 10_002)
    with torch.no_grad():
        model.unknown.fill_(7)
    dropped = (model(ids) == 7).all(1)
    assert float(dropped.double().mean()) == pytest.approx(0.6, abs=0.02)
    model(ids).sum().backward()
    assert model.unknown.grad is not None
    assert float(model.unknown.grad.min()) > 5000
    assert not (model.eval()(ids) == 7).all(1).any()
    sure = HashedIds().build(4, 0, "ids")
    sure(ids).sum().backward()
    assert float(sure.unknown.grad.abs().max()) == 0  # type: ignore[union-attr]


def test_the_same_seed_drops_the_same_ids() -> None:
    first, second = (HashedIds(dropout=0.5).build(4, 3, "ids")(torch.arange(2, 50)) for _ in range(2))
    assert torch.equal(first, second)
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), got 1"):
        HashedIds(dropout=1)


def test_words_have_a_row_each_or_share_some() -> None:
    tokens = torch.randint(0, 30, (8, 4), generator=torch_rng(0, "tokens"))
    tokens[:, 0] = 5
    own = TokenBag().build(30, 6, 4, 0)
    with torch.no_grad():
        table = own.table.clone()
        table[0] = 0
        assert torch.allclose(own.summed(tokens), table[tokens].sum(1), atol=1e-6)
        assert torch.allclose(own(tokens).norm(dim=1), torch.ones(8))
        few = TokenBag(rows=3).build(30, 6, 4, 0)
        kinds = few.summed(torch.arange(1, 31)[:, None]).unique(dim=0)
    assert len(kinds) == 3
    with pytest.raises(ValueError, match="rows must be positive or null, got 0"):
        TokenBag(rows=0)
