"""Each segment has torch's own logsumexp and log_softmax, whatever lies beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.segments import segment_log_softmax, segment_logsumexp
from tests.kernels.placed import moved, placed
from tests.kernels.tolerance import assert_no_worse, buried

IMPLS = ("reference", "chunked", "triton")
OPS = {"logsumexp": placed(segment_logsumexp), "log_softmax": placed(segment_log_softmax)}
RAGGED = {
    "one": (1,),
    "families": (5, 4, 4, 4, 4, 4),
    "ragged": (3, 0, 1, 7, 1, 30, 0, 2),
    "longer than a tile": (3, 2500, 1, 64),
    "more than a tile": (2,) * 700,
}


def world(seed: int, rows: int, lengths: tuple[int, ...], spread: float = 3.0) -> tuple[Tensor, Tensor]:
    """Scores and offsets."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, sum(lengths), generator=g) * spread, torch.tensor([0, *lengths]).cumsum(0)


def torchs(name: str, scores: Tensor, lengths: tuple[int, ...]) -> Tensor:
    parts = scores.split(lengths, 1)
    if name == "log_softmax":
        return torch.cat([part.log_softmax(1) for part in parts], 1)
    return torch.stack([part.logsumexp(1) for part in parts], 1)


def run(compute: Callable[[Tensor], Tensor], scores: Tensor, seed: int = 0) -> list[Tensor]:
    """The result and its gradient for one target."""
    leaf = scores.clone().requires_grad_()
    result = compute(leaf)
    target = torch.randn(result.shape, generator=torch.Generator().manual_seed(seed)).to(scores.dtype)
    return [result.detach(), *torch.autograd.grad(result, leaf, target)]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("lengths", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_it_is_torchs_segment_by_segment(impl: str, name: str, lengths: tuple[int, ...], dtype: torch.dtype) -> None:
    scores, offsets = world(len(lengths), 3, lengths)
    scores = scores.to(dtype)
    exact = run(lambda x: torchs(name, x, lengths), scores.double())
    plain = run(lambda x: torchs(name, x, lengths), scores)
    for got, plainly, truth in zip(run(lambda x: OPS[name](x, offsets, impl=impl), scores), plain, exact, strict=True):
        empty = truth.isinf()  # of segments without numbers
        assert got[empty].equal(plainly[empty])
        assert_no_worse(got[~empty], plainly[~empty], truth[~empty])


@pytest.mark.parametrize("name", OPS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(0, 3), lengths=st.lists(st.integers(0, 9), min_size=1, max_size=8))
def test_implementations_agree_and_read_nothing_beside_their_buffers(
    name: str, seed: int, rows: int, lengths: list[int]
) -> None:
    scores, offsets = world(seed, rows, tuple(lengths))
    results = []
    for impl in IMPLS:
        compute = lambda x, impl=impl: OPS[name](buried(x), buried(offsets), impl=impl)  # noqa: E731
        results.append([compute(scores), *run(lambda x, impl=impl: OPS[name](x, offsets, impl=impl), scores)])
    for other in results[1:]:
        for got, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("impl", IMPLS)
def test_no_exponent_overflows_and_what_cannot_be_counts_nothing(impl: str) -> None:
    scores = torch.tensor([[1e4, 1e4, -torch.inf, -torch.inf, 2.0, -1e4, -1e4]], requires_grad=True)
    found = OPS["logsumexp"](scores, torch.tensor([0, 3, 4, 5, 7]), impl=impl)
    log2 = float(torch.tensor(2.0).log())
    torch.testing.assert_close(found, torch.tensor([[1e4 + log2, -torch.inf, 2.0, -1e4 + log2]]))
    found.backward(torch.ones(1, 4))
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.tensor([[0.5, 0.5, 0.0, 0.0, 1.0, 0.5, 0.5]]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_what_is_no_number_stays_in_its_segment_and_its_row(impl: str, wrong: float) -> None:
    scores, offsets = world(0, 2, (2, 3, 4))
    scores[1, 3] = wrong
    for name, compute in OPS.items():
        found, clean = compute(scores, offsets, impl=impl), torchs(name, scores, (2, 3, 4))
        torch.testing.assert_close(found[0], clean[0])
        spoilt = found[1].isfinite() == clean[1].isfinite()
        assert spoilt.all()


@pytest.mark.parametrize("impl", ["chunked", "triton"])
@pytest.mark.parametrize("name", OPS)
def test_two_runs_give_the_same_bits(impl: str, name: str) -> None:
    scores, offsets = world(1, 5, (3, 9, 4, 1))
    first, second = (run(lambda x: OPS[name](x, offsets, impl=impl), scores) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.equal(other)


@pytest.mark.parametrize("impl", ["chunked", "reference"])
@pytest.mark.parametrize("name", OPS)
def test_gradients_are_those_of_finite_differences(impl: str, name: str) -> None:
    scores, offsets = world(2, 3, (3, 1, 4, 2))
    leaf = scores.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: OPS[name](x, offsets, impl=impl), (leaf,))


@pytest.mark.parametrize("compute", [segment_logsumexp, segment_log_softmax])
def test_a_second_derivative_is_refused(compute: Callable[..., Tensor]) -> None:
    scores = torch.ones(2, 3, requires_grad=True)
    value = compute(scores, torch.tensor([0, 1, 3])).square().sum()
    (first,) = torch.autograd.grad(value, scores, create_graph=True)
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.autograd.grad(first.sum(), scores)


@pytest.mark.parametrize("impl", ["chunked", "triton"])
@pytest.mark.parametrize("name", OPS)
def test_the_operators_are_registered_whole(impl: str, name: str) -> None:
    scores, offsets = moved(impl, *world(3, 3, (2, 5, 1)))
    scores = scores.requires_grad_()
    torch.library.opcheck(getattr(torch.ops.segments, name).default, (scores, offsets, impl))
    compute = OPS[name]
    compiled = torch.compile(lambda *held: compute(*held, impl=impl), fullgraph=True, backend="aot_eager")
    found = compiled(scores, offsets)
    torch.testing.assert_close(found, compute(scores, offsets, impl=impl))
    found.sum().backward()
    assert scores.grad is not None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"scores": torch.ones(3)}, "scores must be"),
        ({"scores": torch.ones(2, 3).long()}, "scores must be"),
        ({"offsets": torch.tensor([0.0, 3.0])}, "offsets must be int64"),
        ({"offsets": torch.tensor([]).long()}, "offsets must be int64"),
        ({"offsets": torch.tensor([0, 2])}, "must rise from 0"),
        ({"offsets": torch.tensor([0, 2, 1, 3])}, "must rise from 0"),
        ({"impl": "fast"}, "impl must be"),
        ({"scores": torch.ones(2, 3).double(), "impl": "triton"}, "float64"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"scores": torch.ones(2, 3), "offsets": torch.tensor([0, 1, 3])} | change
    given["scores"], given["offsets"] = moved(given.get("impl", "chunked"), given["scores"], given["offsets"])
    for compute in (segment_logsumexp, segment_log_softmax):
        with pytest.raises(ValueError, match=told):
            compute(**given)
