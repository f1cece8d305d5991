"""Bags are what torch's own embedding_bag makes of them, and so are their gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.bag import bag as op
from kernels.bag.hashing import rows_of
from tests.kernels.placed import moved, placed
from tests.kernels.tolerance import assert_no_worse, buried

IMPLS = ("reference", "chunked", "triton")
bag = placed(op)


def world(seed: int, bags: int, ids: int, size: int, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Table, values with padding and repeats, offsets with empty bags, weights."""
    g = torch.Generator().manual_seed(seed)
    values = (torch.rand(ids, generator=g).square() * size).long()
    cuts = torch.randint(0, ids + 1, (bags - 1,), generator=g).sort().values
    offsets = torch.cat([torch.zeros(1).long(), cuts, torch.tensor([ids])])
    return torch.randn(size, dim, generator=g), values, offsets, torch.randn(ids, generator=g)


def torchs(
    table: Tensor, values: Tensor, offsets: Tensor, weights: Tensor | None, num_hashes: int, mode: str
) -> Tensor:
    """embedding_bag over every row of every id; a mean is the sum by counted ids."""
    rows = rows_of(values, num_hashes, len(table))
    real = (values != 0).to(table.dtype)
    if mode == "mean":
        counts = torch.stack([part.sum() for part in real.tensor_split(offsets[1:-1])])
        real = real / counts.clamp(min=1).repeat_interleave(offsets.diff())
    factor = real if weights is None else real * weights.to(table.dtype)
    repeated = factor[:, None].expand(rows.shape).reshape(-1)
    return F.embedding_bag(
        rows.reshape(-1),
        table,
        offsets * rows.shape[1],
        mode="sum",
        per_sample_weights=repeated,
        include_last_offset=True,
    )


def run(compute: Any, table: Tensor, weights: Tensor | None, target: Tensor) -> list[Tensor]:
    """The result and its gradients."""
    leaves = [held.clone().requires_grad_() for held in (table, weights) if held is not None]
    result = compute(leaves[0], leaves[1] if len(leaves) > 1 else None)
    return [result.detach(), *torch.autograd.grad(result, leaves, target.to(result.dtype))]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(
    ("num_hashes", "mode", "weighted"), [(0, "sum", True), (2, "mean", True), (3, "sum", False), (0, "mean", False)]
)
@pytest.mark.parametrize(
    ("bags", "ids", "size", "dim"), [(1, 1, 3, 5), (9, 60, 11, 5), (4, 90, 3, 17), (5, 30, 40, 130)]
)
def test_it_is_torchs_embedding_bag(
    impl: str, num_hashes: int, mode: str, weighted: bool, bags: int, ids: int, size: int, dim: int
) -> None:
    table, values, offsets, weights = world(bags, bags, ids, size, dim)
    held, target = weights if weighted else None, torch.randn(bags, dim)
    values = values * 2**40 if num_hashes else values

    def ours(table: Tensor, weights: Tensor | None) -> Tensor:
        return bag(table, values, offsets, weights=weights, num_hashes=num_hashes, mode=mode, impl=impl)

    def theirs(table: Tensor, weights: Tensor | None) -> Tensor:
        return torchs(table, values, offsets, weights, num_hashes, mode)

    exact = run(theirs, table.double(), None if held is None else held.double(), target.double())
    exact[1][0] = 0  # padding has no gradient; torch's is that of a row
    plain = run(theirs, table, held, target)
    plain[1][0] = 0
    for got, plainly, truth in zip(run(ours, table, held, target), plain, exact, strict=True):
        assert_no_worse(got, plainly, truth)


@pytest.mark.parametrize("impl", ["chunked", "triton"])
def test_half_precision_is_summed_in_full(impl: str) -> None:
    table, values, offsets, weights = world(5, 3, 150, 7, 16)
    table, target = table.bfloat16(), torch.randn(3, 16).bfloat16()

    def ours(table: Tensor, weights: Tensor | None) -> Tensor:
        return bag(table, values, offsets, weights=weights, num_hashes=2, impl=impl)

    def theirs(table: Tensor, weights: Tensor | None) -> Tensor:
        rows, which = rows_of(values, 2, 7), torch.arange(3).repeat_interleave(offsets.diff())
        factor = (values != 0).to(table.dtype) * (1 if weights is None else weights.to(table.dtype))
        return table.new_zeros(3, 16).index_add(0, which, table[rows].sum(1) * factor[:, None])

    exact = run(theirs, table.double(), weights.double(), target.double())
    for got, plain, truth in zip(
        run(ours, table, weights, target), run(theirs, table, weights, target), exact, strict=True
    ):
        truth = truth.clone()
        assert_no_worse(got, plain, truth)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.tuples(st.integers(1, 6), st.integers(0, 40), st.integers(2, 9), st.integers(1, 20)),
    num_hashes=st.integers(0, 3),
    mode=st.sampled_from(["sum", "mean"]),
    weighted=st.booleans(),
)
def test_implementations_agree_and_read_nothing_beside_their_buffers(
    seed: int, shape: tuple[int, int, int, int], num_hashes: int, mode: str, weighted: bool
) -> None:
    table, values, offsets, weights = world(seed, *shape)
    target, held = torch.randn(shape[0], shape[3]), weights if weighted else None
    results = []
    for impl in IMPLS:

        def ours(table: Tensor, weights: Tensor | None, impl: str = impl) -> Tensor:
            knobs: dict[str, Any] = {"num_hashes": num_hashes, "mode": mode, "impl": impl}
            return bag(buried(table), buried(values), buried(offsets), weights=buried(weights), **knobs)  # type: ignore[arg-type]

        results.append([ours(table, held)])
        knobs: dict[str, Any] = {"num_hashes": num_hashes, "mode": mode, "impl": impl}
        compute = lambda t, w, knobs=knobs: bag(t, values, offsets, weights=w, **knobs)  # noqa: E731
        results[-1] += run(compute, table, held, target)
    for other in results[1:]:
        for got, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("impl", IMPLS)
def test_padding_adds_nothing_even_where_its_row_is_no_number(impl: str) -> None:
    table = torch.tensor([[torch.nan], [2.0], [4.0]], requires_grad=True)
    weights = torch.tensor([1.0, 1.0, 1.0, 3.0, 1.0], requires_grad=True)
    values, offsets = torch.tensor([0, 1, 2, 2, 0]), torch.tensor([0, 0, 3, 4, 5])
    found = bag(table, values, offsets, weights=weights, mode="mean", impl=impl)
    assert found.flatten().tolist() == [0.0, 3.0, 12.0, 0.0]
    found.sum().backward()
    assert table.grad is not None
    assert weights.grad is not None
    assert table.grad.flatten().tolist() == [0.0, 0.5, 3.5]
    assert weights.grad.tolist() == [0.0, 1.0, 2.0, 4.0, 0.0]


@pytest.mark.parametrize("impl", IMPLS)
def test_the_row_of_padding_has_no_gradient_whatever_comes_back(impl: str) -> None:
    table, weights = torch.ones(3, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    found = bag(table, torch.tensor([0, 2]), torch.tensor([0, 2]), weights=weights, impl=impl)
    found.backward(torch.tensor([[torch.inf, torch.nan]]))
    assert table.grad is not None
    assert weights.grad is not None
    assert table.grad[:2].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert weights.grad[0] == 0
    assert weights.grad[1].isnan()


@pytest.mark.parametrize("impl", IMPLS)
def test_a_row_that_is_no_number_spoils_its_own_bags(impl: str) -> None:
    table = torch.ones(4, 3)
    table[2, 1] = torch.nan
    found = bag(table, torch.tensor([1, 2, 3, 3]), torch.tensor([0, 2, 4]), impl=impl)
    assert found.isnan().tolist() == [[False, True, False], [False] * 3]


@pytest.mark.parametrize("impl", ["chunked", "triton"])
def test_two_runs_give_the_same_bits(impl: str) -> None:
    table, values, offsets, weights = world(1, 6, 120, 4, 8)
    target = torch.randn(6, 8)
    knobs: dict[str, Any] = {"num_hashes": 2, "impl": impl}
    runs = [run(lambda t, w: bag(t, values, offsets, weights=w, **knobs), table, weights, target) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert first.equal(second)


@pytest.mark.parametrize("ids", [16, 17, 290])
def test_rows_that_take_several_pieces_are_joined(ids: int) -> None:
    """Lengths about the piece, 16, and about the pieces that are joined at once, 256."""
    values = torch.cat([torch.full((ids,), 2), torch.full((17,), 1), torch.full((33,), 3)])
    target = torch.randn(len(values), 1)
    offsets = torch.arange(len(values) + 1)
    found = [
        run(lambda t, w, i=i: bag(t, values, offsets, impl=i), torch.ones(5, 1), None, target)[1] for i in IMPLS[1:]
    ]
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("impl", ["chunked", "reference"])
def test_gradients_are_those_of_finite_differences(impl: str) -> None:
    table, values, offsets, weights = world(2, 4, 12, 6, 3)
    leaves = (table.double().requires_grad_(), weights.double().requires_grad_())
    knobs: dict[str, Any] = {"num_hashes": 2, "mode": "mean", "impl": impl}
    assert torch.autograd.gradcheck(lambda t, w: bag(t, values, offsets, weights=w, **knobs), leaves)


def test_a_second_derivative_is_refused() -> None:
    table = torch.ones(3, 2, requires_grad=True)
    (first,) = torch.autograd.grad(
        bag(table, torch.tensor([1]), torch.tensor([0, 1])).square().sum(), table, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.autograd.grad(first.sum(), table)


@pytest.mark.parametrize("impl", ["chunked", "triton"])
def test_the_operators_are_registered_whole(impl: str) -> None:
    table, values, offsets, weights = moved(impl, *world(3, 3, 10, 5, 4))
    table, weights = table.requires_grad_(), weights.requires_grad_()
    torch.library.opcheck(torch.ops.bag.pool.default, (table, values, offsets, weights, 2, True, impl))
    compiled = torch.compile(
        lambda *held: bag(*held, num_hashes=2, mode="mean", impl=impl), fullgraph=True, backend="aot_eager"
    )
    found = compiled(table, values, offsets)
    torch.testing.assert_close(found, bag(table, values, offsets, num_hashes=2, mode="mean", impl=impl))
    found.sum().backward()
    assert table.grad is not None


def test_an_id_outside_the_table_is_never_a_silent_number() -> None:
    table, offsets = torch.ones(3, 2), torch.tensor([0, 1, 2])
    for wrong in (3, -1):
        with pytest.raises(IndexError, match="rows 0 to 2"):
            bag(table, torch.tensor([1, wrong]), offsets)
        given = moved("triton", table, torch.tensor([1, wrong]), offsets)
        on_a_device = torch.ops.bag.pool(*given, None, 0, False, "triton")
        assert on_a_device.isnan().tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"table": torch.ones(3)}, "table must be"),
        ({"values": torch.ones(2)}, "values must be int64"),
        ({"offsets": torch.tensor([]).long()}, "one number more"),
        ({"offsets": torch.tensor([0, 3])}, "must rise from 0"),
        ({"offsets": torch.tensor([0, 2, 1, 2])}, "must rise from 0"),
        ({"weights": torch.ones(3)}, "weights must be"),
        ({"mode": "max"}, "mode must be"),
        ({"num_hashes": 17}, "num_hashes must be"),
        ({"table": torch.ones(1, 2), "num_hashes": 1}, "beside the padding"),
        ({"table": torch.ones(3, 2).double(), "impl": "triton"}, "float64"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], told: str) -> None:
    given: dict[str, Any] = {"table": torch.ones(3, 2), "values": torch.tensor([1, 2]), "offsets": torch.tensor([0, 2])}
    with pytest.raises(ValueError, match=told):
        bag(**(given | change))
