"""The op keeps torch's own contract for operators: compiled, traced, differentiated."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kernels import choose
from kernels.infonce import infonce
from kernels.infonce.assemble import scale_of
from kernels.infonce.hits import by_id
from kernels.infonce.op import _scan  # the operator itself, which torch's own checks take
from tests.kernels.infonce.cases import DEVICE, IMPLS, draw, results

pytestmark = pytest.mark.usefixtures("small_tiles")


@pytest.mark.parametrize("impl", IMPLS)
def test_opcheck(impl: str) -> None:
    case = draw((5, 4, 6), {"extra": True, "ids": True, "log_q": True})
    leaves = [x.clone().requires_grad_() for x in (case.query, case.vectors, scale_of(case.temperature, case.query))]
    hits = list(by_id(case.options["ids"][case.target], case.options["ids"]))
    guess = [torch.zeros(5, device=DEVICE), torch.ones(5, device=DEVICE)] if impl == "chunked" else []
    for both in (True, False):
        arguments = (*leaves, case.target, case.options["log_q"], hits, [] if both else guess, True, both, False, impl)
        torch.library.opcheck(_scan, arguments)


@pytest.mark.parametrize("symmetric", [False, True])
def test_gradcheck(symmetric: bool) -> None:
    case = draw((5, 4, 3), {"extra": True, "ids": True, "log_q": True, "weight": True}).to(torch.float64)
    options = {**case.options, "symmetric": symmetric}
    weight = options.pop("weight")

    def outputs(query: Tensor, vectors: Tensor, temperature: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        found = infonce(query, vectors, case.target, temperature=temperature, weight=weight, impl="chunked", **options)
        return found.loss, found.lse

    leaves = [x.clone().requires_grad_() for x in (case.query, case.vectors, case.temperature, weight)]
    assert torch.autograd.gradcheck(outputs, leaves)


def test_gradcheck_of_the_kernels() -> None:
    case = draw((4, 2, 3), {"extra": True, "ids": True})
    leaves = [x.clone().requires_grad_() for x in (case.query, case.vectors, case.temperature)]

    def outputs(query: Tensor, vectors: Tensor, temperature: Tensor) -> Tensor:
        return infonce(query, vectors, case.target, temperature=temperature, impl="triton", **case.options).loss

    assert torch.autograd.gradcheck(outputs, leaves, eps=1e-2, atol=1e-2, rtol=1e-2, nondet_tol=0)


@pytest.mark.parametrize("impl", [*IMPLS, "auto"])
def test_compiled_without_a_break_in_the_graph(impl: str) -> None:
    case = draw((33, 4, 8), {"extra": True, "ids": True, "log_q": True, "weight": True, "symmetric": True})

    def step(query: Tensor, vectors: Tensor) -> Tensor:
        found = infonce(query, vectors, case.target, temperature=case.temperature, impl=impl, **case.options)
        return found.loss.sum() + found.masked_mass.sum()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    gradients = []
    for function in (step, compiled):
        leaves = [x.clone().requires_grad_() for x in (case.query, case.vectors)]
        gradients.append(torch.autograd.grad(function(*leaves), leaves))
    torch.testing.assert_close(gradients[0], gradients[1])


def test_compiled_code_has_nan_for_targets_outside() -> None:
    case = draw((6, 0, 4), {})
    compiled = torch.compile(
        lambda target: infonce(case.query, case.vectors, target, temperature=1.0).loss,
        fullgraph=True,
        backend="aot_eager",
    )
    target = torch.tensor([0, 1, 2, 3, 4, 6], device=DEVICE)
    assert compiled(target).isnan().tolist() == [False] * 5 + [True]


@pytest.mark.parametrize("impl", IMPLS)
def test_there_is_no_second_derivative(impl: str) -> None:
    case = draw((5, 4, 3), {"extra": True})
    query = case.query.clone().requires_grad_()
    found = infonce(query, case.vectors, case.target, temperature=1.0, impl=impl)
    (first,) = torch.autograd.grad(found.loss.sum(), query, create_graph=True)
    with pytest.raises(NotImplementedError, match="impl='reference'"):
        torch.autograd.grad(first.sum(), query)


def test_the_reference_has_one() -> None:
    case = draw((5, 4, 3), {"extra": True, "ids": True}).to(torch.float64)
    query = case.query.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda q: infonce(q, case.vectors, case.target, temperature=1.0, impl="reference", **case.options).loss, query
    )


def test_auto_says_once_what_it_chose(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_said", set())
    case = draw((5, 4, 3), {"extra": True, "bf16": True})  # full precision is left to chunks everywhere
    with caplog.at_level(logging.INFO, "kernels"):
        for _ in range(3):
            infonce(case.query, case.vectors, case.target, temperature=1.0)
    assert [record.getMessage() for record in caplog.records if "infonce" in record.getMessage()] == [
        f"infonce: impl='auto' is {'triton' if DEVICE == 'cuda' else 'chunked'!r} on {DEVICE}"
    ]


@pytest.mark.parametrize("impl", [*IMPLS, "reference"])
def test_autocast_changes_nothing(impl: str) -> None:
    case = draw((33, 4, 8), {"extra": True, "ids": True, "log_q": True, "symmetric": True})
    before = results(case, impl)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        after = results(case, impl)
    for name, x in before.items():
        if impl != "reference" or not name.startswith(
            "gradient"
        ):  # torch's own backward follows the context it runs in
            assert torch.equal(after[name], x), name


def test_only_the_loss_and_lse_carry_gradients() -> None:
    case = draw((5, 4, 3), {"extra": True, "ids": True})
    query = case.query.clone().requires_grad_()
    for impl in (*IMPLS, "reference"):
        found = infonce(query, case.vectors, case.target, temperature=1.0, impl=impl, **case.options)
        assert [x.requires_grad for x in found] == [True, True, False, False, False]
    assert replace(case, query=query).query.requires_grad
