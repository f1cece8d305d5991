"""The reference against loops over pairs, which share nothing with it but the definition."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch

from kernels.infonce import infonce, infonce_multi
from tests.kernels.infonce.cases import COVERING, Case, draw, moved

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st

NOWHERE = math.inf


def log_sum(values: list[float]) -> float:
    top = max(values, default=-math.inf)
    return top + math.log(sum(math.exp(v - top) for v in values)) if top > -math.inf else -math.inf


def entropy_number(values: list[float]) -> float:
    shares = [math.exp(v - log_sum(values)) for v in values]
    return 1 / sum(p * p for p in shares) if shares else 0.0


def score(case: Case, b: int, n: int) -> float:
    return float(case.query[b] @ case.vectors[n]) / float(case.temperature)


def row(case: Case, b: int) -> Mapping[str, float]:
    """One row's outputs by the words of the docstring."""
    t, size = int(case.target[b]), len(case.vectors)
    log_q = case.options["log_q"].tolist() if "log_q" in case.options else [0.0] * size
    ids = case.options["ids"].tolist() if "ids" in case.options else list(range(size))
    rivals = [score(case, b, n) - log_q[n] for n in range(size) if n != t and ids[n] != ids[t] and log_q[n] != NOWHERE]
    hits = [score(case, b, n) - log_q[n] for n in range(size) if n != t and ids[n] == ids[t] and log_q[n] != NOWHERE]
    corrected = case.options["positive_mode"] == "corrected"
    own_log_q = log_q[t]
    if own_log_q == NOWHERE:
        copies = [log_q[n] for n in range(size) if ids[n] == ids[t] and log_q[n] != NOWHERE]
        own_log_q = min(copies, default=0.0)
    own = score(case, b, t) - (0 if corrected else own_log_q)
    lse = log_sum([own, *rivals])
    loss = lse - own
    if corrected:
        loss = (1 - math.exp(own - lse)) * (log_sum(rivals) - own) if rivals else 0.0
    if case.options["symmetric"]:
        places = case.target.tolist()
        others = [c for c in range(len(places)) if places[c] != t and ids[places[c]] != ids[t]]
        loss = (loss + log_sum([score(case, c, t) for c in (*others, b)]) - score(case, b, t)) / 2
    weight = float(case.options["weight"][b]) if "weight" in case.options else 1.0
    mass = math.exp(log_sum(hits) - log_sum([lse, *hits]))
    right = float(own > max(rivals, default=-math.inf))
    return dict(zip(OUTPUTS, (weight * loss, lse, right, entropy_number(rivals), mass), strict=True))


OUTPUTS = ("loss", "lse", "accuracy", "effective_negatives", "masked_mass")


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(0, 4), st.sampled_from(COVERING))
def test_outputs_are_those_of_loops(impl: str, seed: int, rows: int, extra: int, flags: dict[str, bool]) -> None:
    case = moved(draw((rows, extra, 3), {**flags, "bf16": False}, seed), "cpu").to(torch.float64)
    found = infonce(case.query, case.vectors, case.target, temperature=case.temperature, impl=impl, **case.options)
    for name in OUTPUTS:
        expected = torch.tensor([row(case, b)[name] for b in range(rows)], dtype=torch.float64)
        torch.testing.assert_close(getattr(found, name), expected, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_several_positives_are_those_of_loops(impl: str, seed: int, rows: int, columns: int, corrected: bool) -> None:
    g = torch.Generator().manual_seed(seed)
    query, vectors = (torch.randn(size, 3, generator=g).double() for size in (rows, columns))
    group, ids = (torch.randint(0, 4, (size,), generator=g) for size in (rows, columns))
    log_q = torch.randn(columns, generator=g).double()
    log_q[torch.rand(columns, generator=g) < 0.2] = torch.inf
    found = infonce_multi(
        query, vectors, group, ids=ids, log_q=log_q if corrected else None, temperature=0.5, impl=impl
    )
    for b in range(rows):
        logit = [float(query[b] @ vectors[n]) / 0.5 - (float(log_q[n]) if corrected else 0) for n in range(columns)]
        positives = [z for n, z in enumerate(logit) if ids[n] == group[b] and z > -math.inf]
        others = [z for n, z in enumerate(logit) if ids[n] != group[b] and z > -math.inf]
        lse = log_sum(logit)
        expected = sum(lse - z for z in positives) / len(positives) if positives else 0.0
        assert float(found.loss[b]) == pytest.approx(expected, abs=1e-9)
        assert float(found.lse[b]) == pytest.approx(lse)
        best = max(positives, default=-math.inf) > max(others, default=-math.inf)
        assert float(found.accuracy[b]) == float(best)
        assert float(found.effective_negatives[b]) == pytest.approx(entropy_number(others))


def test_the_corrected_mode_has_the_gradient_of_an_uncorrected_positive() -> None:
    """The identity by which it costs nothing: w d(rivals - own) with w = 1 - share is the gradient of softplus."""
    case = moved(draw((9, 4, 3), {"log_q": True, "extra": True}), "cpu").to(torch.float64)
    query = case.query.clone().requires_grad_()
    log_q = case.options["log_q"].clone()
    corrected = infonce(
        query, case.vectors, case.target, log_q=log_q, temperature=1.0, positive_mode="corrected", impl="reference"
    )
    places = torch.arange(len(log_q))
    for b in range(len(query)):
        open_to_b = torch.where(places == case.target[b], 0.0, log_q)
        logits = (query[b] @ case.vectors.T - open_to_b)[None]
        plain = torch.nn.functional.cross_entropy(logits, case.target[b : b + 1])
        ours, theirs = (torch.autograd.grad(loss, query, retain_graph=True)[0] for loss in (corrected.loss[b], plain))
        torch.testing.assert_close(ours, theirs)
