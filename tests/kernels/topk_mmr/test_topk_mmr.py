"""The lists are those of the greedy definition, whichever implementation makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.topk_mmr import topk_mmr as op
from recsys.funnel.rerank import mmr
from tests.kernels.placed import moved, placed
from tests.kernels.tolerance import buried

IMPLS = ("reference", "chunked", "triton")
topk_mmr = placed(op)


def world(seed: int, rows: int, width: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors, scores, mask."""
    g = torch.Generator().manual_seed(seed)
    vectors = F.normalize(torch.randn(rows, width, dim, generator=g), dim=2)
    return vectors, torch.randn(rows, width, generator=g), torch.rand(rows, width, generator=g) < 0.8


def regrets(place: Tensor, lists: tuple[Tensor, Tensor, Tensor], lam: float, method: str) -> list[float]:
    """By how much each choice falls short of the best there was, in float64, given the choices before it."""
    found = []
    for places, vectors, scores, mask in zip(place, *lists, strict=True):
        valid = mask.nonzero().flatten().tolist()
        rows, low = vectors.double(), scores[mask].min() if valid else 0
        span = (scores[mask].max() - low).double() if valid else 0
        value = (scores.double() - low) / (span if span > 0 else 1)
        for turn, chosen in enumerate(places.tolist()):
            before = places[:turn].tolist()
            worth = {n: worth_of(rows, value, before, n, lam, method) for n in valid if n not in before}
            possible = [w for w in worth.values() if w > -torch.inf]
            if chosen < 0:
                assert not possible
            else:
                found.append(max(possible) - worth[chosen])
    return found


def worth_of(rows: Tensor, value: Tensor, before: list[int], n: int, lam: float, method: str) -> float:
    like = 0.0
    if method == "mmr":
        like = max((float(rows[n] @ rows[c]) for c in before), default=0.0)
    elif lam > 0:
        away = rows[n]
        if before:  # what is left of it beside the span of the chosen
            basis = torch.linalg.qr(rows[before].T).Q
            away = away - basis @ (basis.T @ away)
        square = float(away @ away)
        like = -np.log(square) if square > 1e-5 * float(rows[n] @ rows[n]) else np.inf
    return (1 - lam) * float(value[n]) - (lam * like if lam else 0.0)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("method", ["mmr", "dpp"])
@pytest.mark.parametrize(("rows", "width", "dim", "k"), [(1, 1, 3, 2), (3, 17, 5, 9), (2, 40, 37, 8), (2, 33, 96, 1)])
def test_every_choice_is_the_best_there_is(impl: str, method: str, rows: int, width: int, dim: int, k: int) -> None:
    for seed, lam in enumerate((0.0, 0.2, 0.7, 1.0)):
        lists = world(seed, rows, width, dim)
        place = topk_mmr(lists[0], lists[1], k, lam=lam, mask=lists[2], method=method, impl=impl)
        assert place.shape == (rows, k)
        assert max(regrets(place, lists, lam, method), default=0) <= 2e-6


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(0, 4), st.integers(0, 20), st.integers(1, 9)),
    k=st.integers(0, 8),
    lam=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    method=st.sampled_from(["mmr", "dpp"]),
    half=st.booleans(),
)
def test_implementations_agree_and_read_nothing_beside_their_buffers(
    seed: int, shape: tuple[int, int, int], k: int, lam: float, method: str, half: bool
) -> None:
    vectors, scores, mask = world(seed, *shape)
    vectors = vectors.bfloat16() if half else vectors
    for impl in IMPLS:
        place = topk_mmr(buried(vectors), buried(scores), k, lam=lam, mask=mask, method=method, impl=impl)  # type: ignore[arg-type]
        assert place.shape == (shape[0], k)
        assert max(regrets(place, (vectors, scores, mask), lam, method), default=0) <= 1e-4


@pytest.mark.parametrize("impl", IMPLS)
def test_it_is_the_houses_own_marginal_relevance(impl: str) -> None:
    for seed, lam in enumerate((0.1, 0.5, 0.9)):
        vectors, scores, _ = world(seed, 4, 12, 6)
        scores, lengths = scores.sort(1, descending=True).values, torch.tensor([12, 7, 1, 3])
        mask = torch.arange(12) < lengths[:, None]
        house = mmr(scores.masked_fill(~mask, -torch.inf).numpy(), vectors.numpy(), mask.numpy(), 5, lam)
        place = topk_mmr(vectors, scores, 5, lam=lam, mask=mask, impl=impl)
        for row, length in enumerate(lengths.clamp(max=5).tolist()):
            assert place[row].tolist() == [*house[row, :length].tolist(), *[-1] * (5 - length)]


@pytest.mark.parametrize("impl", IMPLS)
def test_the_first_of_equals_is_chosen(impl: str) -> None:
    axis = torch.eye(3)
    vectors = torch.stack([axis[0], axis[1], axis[1], axis[2], axis[0]])[None]
    scores = torch.tensor([[1.0, 0.5, 0.5, 0.5, 1.0]])
    assert topk_mmr(vectors, scores, 5, lam=0.5, impl=impl).tolist() == [[0, 1, 3, 4, 2]]
    assert topk_mmr(vectors, scores, 5, lam=0.0, impl=impl).tolist() == [[0, 4, 1, 2, 3]]
    assert topk_mmr(vectors, scores, 5, lam=0.5, method="dpp", impl=impl).tolist() == [[0, 1, 3, -1, -1]]


@pytest.mark.parametrize("impl", IMPLS)
def test_twins_are_chosen_once_and_lists_end_where_they_span_everything(impl: str) -> None:
    vectors, scores, _ = world(3, 2, 20, 4)
    vectors[:, 10:] = vectors[:, :10]
    place = topk_mmr(vectors, scores, 8, lam=0.3, method="dpp", impl=impl)
    assert ((place >= 0).sum(1) == 4).all()  # four dimensions, four items
    assert all(len({p % 10 for p in row if p >= 0}) == 4 for row in place.tolist())


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_what_is_no_number_is_no_candidate_of_its_list(impl: str, method: str) -> None:
    vectors, scores, mask = world(4, 3, 10, 5)
    whole = topk_mmr(vectors, scores, 4, lam=0.4, mask=mask, method=method, impl=impl)
    best = int(whole[1, 0])
    for broken in (torch.nan, torch.inf):
        bad_vectors, bad_scores, smaller = vectors.clone(), scores.clone(), mask.clone()
        bad_vectors[1, best, 2] = broken
        smaller[1, best] = False
        expected = topk_mmr(vectors, scores, 4, lam=0.4, mask=smaller, method=method, impl=impl)
        assert topk_mmr(bad_vectors, scores, 4, lam=0.4, mask=mask, method=method, impl=impl).equal(expected)
        bad_scores[1, best] = broken
        assert topk_mmr(vectors, bad_scores, 4, lam=0.4, mask=mask, method=method, impl=impl).equal(expected)


def test_scores_of_any_scale_give_the_same_lists() -> None:
    vectors, scores, mask = world(5, 3, 15, 6)
    found = topk_mmr(vectors, scores.double(), 6, lam=0.4, mask=mask)
    assert topk_mmr(vectors, scores.double() * 1e6 + 1e4, 6, lam=0.4, mask=mask).equal(found)


def test_both_ways_of_the_cpu_to_a_product_agree() -> None:
    """Few turns take a product a turn, many a product of all with all."""
    vectors, scores, mask = world(6, 3, 40, 6)
    for method in ("mmr", "dpp"):
        few = topk_mmr(vectors.double(), scores.double(), 2, lam=0.4, mask=mask, method=method)
        many = topk_mmr(vectors.double(), scores.double(), 5, lam=0.4, mask=mask, method=method)
        assert many[:, :2].equal(few)


@pytest.mark.parametrize("impl", ["chunked", "triton"])
@pytest.mark.parametrize("method", ["mmr", "dpp"])
def test_the_operator_is_registered_whole(impl: str, method: str) -> None:
    vectors, scores, mask = moved(impl, *world(7, 2, 9, 4))
    torch.library.opcheck(torch.ops.topk_mmr.pick.default, (vectors, scores, mask, 3, 0.5, method, impl))
    compiled = torch.compile(
        lambda v, s, m: topk_mmr(v, s, 3, lam=0.5, mask=m, method=method, impl=impl),
        fullgraph=True,
        backend="aot_eager",
    )
    expected = topk_mmr(vectors, scores, 3, lam=0.5, mask=mask, method=method, impl=impl)
    assert compiled(vectors.requires_grad_(), scores, mask).equal(expected)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"vectors": torch.ones(2, 3)}, "vectors must be"),
        ({"scores": torch.ones(2, 4)}, "scores must be"),
        ({"mask": torch.ones(2, 3)}, "mask must be"),
        ({"k": -1}, "k must be"),
        ({"lam": 1.1}, "lam must lie"),
        ({"method": "greedy"}, "method must be"),
        ({"scores": torch.ones(2, 3).double(), "impl": "triton"}, "float64"),
        ({"vectors": torch.ones(1, 8193, 1), "scores": torch.ones(1, 8193), "impl": "triton"}, "up to 8192"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"vectors": torch.ones(2, 3, 4), "scores": torch.ones(2, 3), "k": 2, "lam": 0.5}
    with pytest.raises(ValueError, match=told):
        topk_mmr(**(given | change))
