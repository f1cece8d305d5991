"""Inputs for the op, what comes out of it with all gradients, and the rule by which that is judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kernels.infonce import infonce
from tests.kernels.placed import DEVICE
from tests.kernels.tolerance import assert_no_worse

IMPLS = ("chunked", "triton")
FLAGS = ("log_q", "ids", "weight", "extra", "symmetric", "corrected", "bf16")
# every pair of flags in all four combinations: the seven sums of three bits
COVERING = tuple(
    dict(zip(FLAGS, map(bool, (a, b, a ^ b, c, a ^ c, b ^ c, a ^ b ^ c)), strict=True))
    for a in (0, 1)
    for b in (0, 1)
    for c in (0, 1)
)
FIRST_ID = 2**53  # from here on float64 can't tell neighbouring ids apart


@dataclass(frozen=True, slots=True)
class Case:
    """Arguments of `infonce` on the test's device, and the gradients that arrive at the losses and at lse."""

    query: Tensor
    vectors: Tensor
    target: Tensor
    temperature: Tensor
    options: Mapping[str, Any]  # log_q, ids, weight and the modes
    upstream: Tensor  # [2, B]

    def to(self, dtype: torch.dtype) -> Case:
        """The very same numbers in another precision, and log_q, weight and temperature with them."""
        floats = {name: x.to(dtype) for name, x in self.options.items() if name in ("log_q", "weight")}
        return replace(
            self,
            query=self.query.to(dtype),
            vectors=self.vectors.to(dtype),
            temperature=self.temperature.to(dtype),
            options={**self.options, **floats},
            upstream=self.upstream.to(dtype),
        )


def draw(shape: tuple[int, int, int], flags: Mapping[str, bool], seed: int = 0) -> Case:
    """shape: rows, extra columns, D. Few ids, so that there are hits and rows whose negatives are mostly masked."""
    g = torch.Generator().manual_seed(seed)
    rows, extra, dim = shape
    columns = rows + (extra if flags.get("extra") else 0)
    dtype = torch.bfloat16 if flags.get("bf16") else torch.float32
    options: dict[str, Any] = {}
    if flags.get("log_q"):
        options["log_q"] = torch.randn(columns, generator=g)
        options["log_q"][torch.rand(columns, generator=g) < 0.1] = torch.inf
    if flags.get("ids"):
        options["ids"] = FIRST_ID + torch.randint(0, max(2, columns // 4), (columns,), generator=g)
    if flags.get("weight"):
        options["weight"] = torch.rand(rows, generator=g) + 0.1
    case = Case(
        query=torch.randn(rows, dim, generator=g).to(dtype),
        vectors=torch.randn(columns, dim, generator=g).to(dtype),
        target=torch.randint(0, columns, (rows,), generator=g),
        temperature=torch.tensor(0.3 * dim**0.5),
        options=options | modes(flags),
        upstream=torch.randn(2, rows, generator=g) / rows,
    )
    return moved(case, DEVICE)


def modes(flags: Mapping[str, bool]) -> dict[str, Any]:
    return {
        "symmetric": bool(flags.get("symmetric")),
        "positive_mode": "corrected" if flags.get("corrected") else "sampled",
    }


def moved(case: Case, device: str) -> Case:
    options = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in case.options.items()}
    names = ("query", "vectors", "target", "temperature", "upstream")
    return replace(case, options=options, **{name: getattr(case, name).to(device) for name in names})


def results(case: Case, impl: str) -> dict[str, Tensor]:
    """All outputs and all gradients."""
    wanted = {"query": case.query, "vectors": case.vectors, "temperature": case.temperature}
    if "weight" in case.options:
        wanted["weight"] = case.options["weight"]
    leaves = {name: x.detach().clone().requires_grad_() for name, x in wanted.items()}
    options = {**case.options, **({"weight": leaves["weight"]} if "weight" in leaves else {})}
    found = infonce(
        leaves["query"], leaves["vectors"], case.target, temperature=leaves["temperature"], impl=impl, **options
    )
    arriving = [case.upstream[0].to(found.loss.dtype), case.upstream[1].to(found.lse.dtype)]
    gradients = torch.autograd.grad([found.loss, found.lse], list(leaves.values()), arriving)
    named = {f"gradient of {name}": x for name, x in zip(leaves, gradients, strict=True)}
    return {name: x.detach() for name, x in found._asdict().items()} | named


def largest_logit(case: Case) -> float:
    """In bits: to round it once to float32 moves its share by this times 2^-24, relatively."""
    logits = case.query.double() @ case.vectors.double().T / case.temperature.double()
    return math.log2(math.e) * float(logits.abs().amax()) if logits.numel() else 0.0


def assert_exact(case: Case, impl: str, slack: float = 1e-6) -> None:
    """No output and no gradient is worse than plain torch's in the same dtype.

    The temperature's gradient is a sum that cancels: one number, whose error is compared with the size of its terms.
    `slack` is for what the other way to add up may get right.
    """
    truth, plain, ours = results(case.to(torch.float64), "reference"), results(case, "reference"), results(case, impl)
    slope = "gradient of temperature"
    terms = (case.query.double() * truth["gradient of query"]).sum(1).abs().sum() / case.temperature
    limit = 2e-6 if case.query.dtype == torch.float32 else 1e-2
    assert float((ours.pop(slope) - truth[slope]).abs() / terms) <= limit, slope
    slack = max(slack, 2.0**-24 * largest_logit(case))
    for name, found in ours.items():
        try:
            assert_no_worse(found, plain[name], truth[name], slack)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
