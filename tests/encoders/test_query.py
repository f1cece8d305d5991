"""The ladder of query encoders, their arithmetic, and weights of eight bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from recsys.encoders.int8 import Int8Linear, num_bytes, quantised
from recsys.encoders.query import HashedBag, Transformer, truncated
from recsys.random import torch_rng

LADDER = (Transformer(layers=2, width=16), Transformer(layers=1, width=8, heads=2), HashedBag(), HashedBag(grams=2))


def queries(rows: int = 6, longest: int = 5) -> torch.Tensor:
    generator = torch_rng(0, "queries")
    tokens = torch.randint(1, 21, (rows, longest), generator=generator)
    return tokens.masked_fill(torch.arange(longest) >= torch.randint(1, longest + 1, (rows, 1), generator=generator), 0)


@pytest.mark.parametrize("spec", LADDER)
def test_unit_vectors_that_padding_does_not_change(spec) -> None:
    model = spec.build(20, 7, 5, 0).eval()
    tokens = queries()
    with torch.no_grad():
        found = model(tokens)
        assert found.shape == (6, 7)
        assert torch.allclose(found.norm(dim=1), torch.ones(6), atol=1e-5)
        for row, query in enumerate(tokens):
            assert torch.allclose(model(query[query > 0][None])[0], found[row], atol=1e-5)
    assert torch.equal(spec.build(20, 7, 5, 0).eval()(tokens), found)  # the same seed, the same weights
    assert not torch.equal(spec.build(20, 7, 5, 1).eval()(tokens), found)


def test_who_can_tell_the_order_of_two_tokens() -> None:
    pair = torch.tensor([[3, 9], [9, 3]])
    for spec, tells in zip(LADDER, (True, True, False, True), strict=True):
        model = spec.build(20, 7, 5, 0).eval()
        if isinstance(spec, HashedBag) and spec.grams == 2:
            nn.init.normal_(model.pairs)  # they start at nothing
        with torch.no_grad():
            first, second = model(pair)
        assert torch.allclose(first, second, atol=1e-5) != tells


def test_a_pair_of_neighbours_has_one_row_and_padding_has_none() -> None:
    model = HashedBag(grams=2, buckets=10_000).build(20, 4, 5, 0)
    nn.init.normal_(model.pairs, generator=torch_rng(0, "pairs"))
    with torch.no_grad():
        found = model(torch.tensor([[3, 9, 0, 0]]))[0]
        single = model(torch.tensor([[3, 0, 0, 0]]))[0]
        own = model.tokens[3] + model.tokens[9]
        fits = nn.functional.normalize(own + model.pairs, dim=1) @ found
    assert int((fits > 1 - 1e-6).sum()) == 1
    assert torch.allclose(single, nn.functional.normalize(model.tokens[3], dim=0))


@pytest.mark.parametrize("length", [1, 3, 5])
@pytest.mark.parametrize("spec", [Transformer(layers=3, width=16), Transformer(layers=1, width=24, heads=3, expand=2)])
def test_multiply_adds_are_those_that_torch_counts(spec: Transformer, length: int) -> None:
    model = spec.build(20, 7, 5, 0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.ones(1, length, dtype=torch.int64))
    assert 2 * spec.multiply_adds(length, 7) == counter.get_total_flops()


def test_truncation_keeps_the_first_layers_and_the_whole_is_the_same() -> None:
    model = Transformer(layers=3, width=16).build(20, 7, 5, 0).eval()
    tokens = queries()
    with torch.no_grad():
        assert torch.equal(truncated(model, 3).eval()(tokens), model(tokens))
        less = truncated(model, 1)
        assert len(less.layers) == 1
        less.layers[0].up.weight.zero_()  # a copy
        assert float(model.layers[0].up.weight.abs().max()) > 0
    with pytest.raises(ValueError, match=r"layers must lie in 1\.\.3, got 4"):
        truncated(model, 4)


def test_int8_rows_are_within_half_a_step_and_take_a_quarter() -> None:
    weight = torch.randn(5, 9, generator=torch_rng(0, "weight"))
    weight[2] = 0
    held = Int8Linear(weight, None)
    error = (held.weight * held.scale - weight).abs()
    assert bool((error <= held.scale / 2 + 1e-7).all())
    assert held.weight.dtype == torch.int8
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
    small = quantised(model)
    assert num_bytes(small) < 0.3 * num_bytes(model)
    values = torch.randn(8, 64, generator=torch_rng(0, "values"))
    with torch.no_grad():
        assert float((small(values) - model(values)).abs().max()) < 0.05
    assert isinstance(model[0], nn.Linear)  # the other is a copy
