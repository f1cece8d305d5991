"""Triplets are those of the definition, whichever implementation finds them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.pairwise import triplet as op
from kernels.pairwise.loss import distance
from tests.kernels.placed import moved, placed
from tests.kernels.tolerance import assert_no_worse, buried

IMPLS = ("reference", "chunked", "triton")
triplet = placed(op)
RULES = [(p, n) for p in ("hard", "easy", "random") for n in ("hard", "semihard", "random")]


def batch(seed: int, size: int, dim: int, kinds: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(size, dim, generator=g), torch.randint(-1, kinds, (size,), generator=g) * 2**33


def allowed(found: Any, row: int, apart: Tensor, same: Tensor, rule: tuple[str, str], margin: float) -> bool:
    """Whether the triplet of a row is one that the rule allows; distances to 1e-4."""
    kin = [j for j in range(len(apart)) if same[j] and j != row]
    others = [j for j in range(len(apart)) if not same[j]]
    p, n = int(found.positive[row]), int(found.negative[row])
    if not kin:
        return p == n == -1
    best = {"hard": max, "easy": min, "random": lambda held: apart[p]}[rule[0]]([apart[j] for j in kin])
    if p not in kin or abs(apart[p] - best) > 1e-4:
        return False
    near = [j for j in others if apart[j] < apart[p] + margin]
    if rule[1] == "random":
        return n in near or (n == -1 and not [j for j in near if apart[j] < apart[p] + margin - 1e-4])
    if not others:
        return n == -1
    beyond = [apart[j] for j in others if apart[j] > apart[p]]
    wanted = min(apart[j] for j in others) if rule[1] == "hard" else min(beyond) if beyond else max(apart[others])
    return n in others and bool(abs(apart[n] - wanted) < 1e-4)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("metric", ["euclidean", "squared", "cosine"])
def test_the_choice_is_the_definitions(impl: str, metric: str) -> None:
    for (seed, (size, dim, kinds)), rule in zip(
        itertools.product(range(3), ((1, 5, 1), (17, 5, 4), (70, 37, 9))), RULES, strict=True
    ):
        x, labels = batch(seed, size, dim, kinds)
        found = triplet(x, labels, metric=metric, positive=rule[0], negative=rule[1], margin=0.3, seed=seed, impl=impl)
        rows = torch.nn.functional.normalize(x.double(), dim=1) if metric == "cosine" else x.double()
        for row in range(size):
            apart = distance(rows, rows[row].expand_as(rows), metric)
            assert allowed(found, row, apart, labels == labels[row], rule, 0.3), (rule, row)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(0, 40),
    dim=st.integers(1, 20),
    kinds=st.integers(1, 8),
    rule=st.sampled_from(RULES),
    margin=st.sampled_from([None, 0.0, 0.5]),
    half=st.booleans(),
)
def test_implementations_agree(
    seed: int, size: int, dim: int, kinds: int, rule: tuple[str, str], margin: float | None, half: bool
) -> None:
    x, labels = batch(seed, size, dim, kinds)
    x = (x * 4).round() if not half else (x * 4).round().bfloat16()  # whole numbers: every sum is exact
    ids = labels // 2**33 + torch.arange(size) // 2
    knobs = {"ids": ids, "positive": rule[0], "negative": rule[1], "margin": margin, "seed": seed, "metric": "squared"}
    truth = triplet(x, labels, impl="reference", **knobs)
    for impl in ("chunked", "triton"):
        found = triplet(buried(x), buried(labels), impl=impl, **knobs)  # type: ignore[arg-type]
        assert found.positive.equal(truth.positive)
        assert found.negative.equal(truth.negative)
        # a GPU's exp and log1p end in other bits than a CPU's
        torch.testing.assert_close(found.loss, truth.loss, rtol=1e-5, atol=0)


@pytest.mark.parametrize("impl", IMPLS)
def test_the_first_of_equals_is_chosen(impl: str) -> None:
    x = torch.tensor([[0.0], [2.0], [2.0], [-2.0], [1.0], [-1.0], [1.0]])
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    found = triplet(x, labels, impl=impl)
    assert found.positive[:1].tolist() == [1]
    assert found.negative[:1].tolist() == [4]
    far = triplet(x * torch.tensor([[1], [0.5], [0.5], [0.5], [0], [0], [0]]), labels, negative="semihard", impl=impl)
    assert far.negative[0] == 4  # none beyond: the farthest, and of those the first


@pytest.mark.parametrize("impl", IMPLS)
def test_copies_of_an_item_are_no_positives_of_each_other(impl: str) -> None:
    x = torch.tensor([[0.0], [9.0], [1.0], [5.0]])
    labels, ids = torch.tensor([7, 7, 7, 8]), torch.tensor([2**62, 2**62, 3, 2**62])
    found = triplet(x, labels, ids=ids, impl=impl)
    assert found.positive.tolist() == [2, 2, 1, -1]
    assert found.negative.tolist() == [3, 3, 3, -1]
    assert found.loss[3] == 0
    assert found.positive_distance[3].isnan()


@pytest.mark.parametrize("impl", IMPLS)
def test_a_batch_of_one_kind_has_no_negatives_and_no_loss(impl: str) -> None:
    for negative in ("hard", "semihard", "random"):
        found = triplet(torch.randn(5, 3), torch.zeros(5).long(), negative=negative, impl=impl)
        assert found.negative.tolist() == [-1] * 5
        assert found.loss.tolist() == [0.0] * 5


@pytest.mark.parametrize("impl", IMPLS)
def test_an_anchor_that_is_no_number_spoils_only_itself(impl: str) -> None:
    x, labels = batch(3, 30, 5, 3)
    broken = x.clone()
    broken[4, 2] = torch.nan
    for positive, negative in RULES:
        found = triplet(broken, labels, positive=positive, negative=negative, impl=impl)
        assert found.loss.isnan().nonzero().flatten().tolist() == [4]
        assert not ((found.positive == 4) | (found.negative == 4)).any()


@pytest.mark.parametrize("impl", ["chunked", "triton"])
def test_random_draws_are_uniform_and_depend_on_the_seed(impl: str) -> None:
    size, draws = 16, 400
    labels = torch.arange(size) % 2
    rounds = 3 if impl == "triton" else draws
    picked = [
        triplet(torch.ones(size, 2), labels, negative="random", margin=None, seed=s, impl=impl).negative
        for s in range(rounds)
    ]
    if impl == "triton":
        for seed, held in enumerate(picked):
            again = triplet(torch.ones(size, 2), labels, negative="random", margin=None, seed=seed, impl="chunked")
            assert held.equal(again.negative)
        return
    counts = torch.stack([torch.bincount(torch.stack(picked)[:, row], minlength=size) for row in range(size)]).double()
    fit = labels[:, None] != labels
    assert (counts[~fit] == 0).all()
    expected = draws / 8
    chi = ((counts[fit] - expected).square() / expected).view(size, 8).sum(1)
    assert chi.mean() < 9.5  # 7 on average with a deviation of 0.94, if uniform
    together = torch.stack(picked)[:, ::2]
    assert (together[:, :1] == together[:, 1:]).double().mean() < 0.17  # 1/8 if rows draw for themselves


@pytest.mark.parametrize("impl", ["chunked", "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("size", "dim"), [(100, 37), (131, 96), (60, 300)])
def test_loss_and_gradient_are_no_worse_than_plain_torch(impl: str, dtype: torch.dtype, size: int, dim: int) -> None:
    x, labels = batch(size, size, dim, 12)
    x = x.to(dtype)

    def plain(rows: Tensor) -> Tensor:
        apart = torch.cdist(
            rows.float() if rows.dtype == torch.bfloat16 else rows,
            rows.float() if rows.dtype == torch.bfloat16 else rows,
        )
        same = labels[:, None] == labels
        kin = same & ~torch.eye(size, dtype=torch.bool)
        far = apart.masked_fill(~kin, -torch.inf).amax(1)
        near = apart.masked_fill(same, torch.inf).amin(1)
        return torch.where(kin.any(1), (far - near + 0.5).clamp(min=0), 0).sum()

    results = []
    for compute, rows in ((plain, x), (plain, x.double()), (None, x)):
        rows = rows.clone().requires_grad_()
        loss = compute(rows) if compute else triplet(rows, labels, margin=0.5, impl=impl).loss.sum()
        (gradient,) = torch.autograd.grad(loss, rows)
        results.append((loss.detach().reshape(1), gradient))
    for got, theirs, exact in zip(results[2], results[0], results[1], strict=True):
        assert_no_worse(got, theirs, exact)


@pytest.mark.parametrize("metric", ["euclidean", "squared", "cosine"])
@pytest.mark.parametrize("margin", [0.3, None])
def test_gradients_are_those_of_finite_differences(metric: str, margin: float | None) -> None:
    x, labels = batch(1, 12, 3, 3)
    rows = x.double().requires_grad_()
    knobs: dict[str, Any] = {"metric": metric, "margin": margin, "impl": "chunked"}
    assert torch.autograd.gradcheck(lambda held: triplet(held, labels, **knobs).loss, rows)
    assert torch.autograd.gradgradcheck(lambda held: triplet(held, labels, **knobs).loss, rows)


def test_twins_have_a_gradient_that_is_a_number() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    triplet(x, torch.tensor([0, 0, 1, 1]), impl="chunked").loss.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("impl", ["chunked", "triton"])
def test_two_runs_give_the_same_bits(impl: str) -> None:
    x, labels = batch(5, 90, 19, 6)
    runs = []
    for _ in range(2):
        rows = x.clone().requires_grad_()
        found = triplet(rows, labels, negative="semihard", impl=impl)
        found.loss.sum().backward()
        runs.append((found.loss.detach(), rows.grad))
    assert runs[0][0].equal(runs[1][0])
    assert runs[0][1].equal(runs[1][1])  # type: ignore[union-attr, arg-type]


def test_the_order_of_the_batch_does_not_matter() -> None:
    x, labels = batch(6, 50, 7, 5)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    found, mixed = triplet(x, labels, impl="chunked"), triplet(x[order], labels[order], impl="chunked")
    torch.testing.assert_close(mixed.loss, found.loss[order])


@pytest.mark.parametrize("impl", ["chunked", "triton"])
def test_the_operator_is_registered_whole(impl: str) -> None:
    x, labels = moved(impl, *batch(2, 20, 5, 3))
    given = (x, labels, None, "euclidean", "hard", "semihard", 0.2, 0, impl)
    torch.library.opcheck(torch.ops.pairwise.select.default, given)
    compiled = torch.compile(
        lambda *held: triplet(*held, negative="semihard", impl=impl), fullgraph=True, backend="aot_eager"
    )
    rows = x.clone().requires_grad_()
    found, eager = compiled(rows, labels), triplet(x, labels, negative="semihard", impl=impl)
    assert found.negative.equal(eager.negative)
    torch.testing.assert_close(found.loss, eager.loss)
    found.loss.sum().backward()
    assert rows.grad is not None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"metric": "manhattan"}, "metric must be one of"),
        ({"positive": "soft"}, "positive must be one of"),
        ({"negative": "easy"}, "negative must be one of"),
        ({"margin": -1.0}, "margin must be"),
        ({"labels": torch.zeros(3).long()}, "labels must be int64"),
        ({"ids": torch.zeros(4)}, "ids must be int64"),
        ({"vectors": torch.zeros(4, 2, dtype=torch.float64), "impl": "triton"}, "float64"),
        ({"vectors": torch.zeros(4)}, "vectors must be"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        triplet(**({"vectors": torch.zeros(4, 2), "labels": torch.zeros(4).long()} | change))
