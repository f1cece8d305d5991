"""Losses against slow loops in float64."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.candidates import Candidates, Corpus, concat
from recsys.data.spec import Task
from recsys.losses.bpr import BPR
from recsys.losses.listwise import ListwiseSoftmax
from recsys.losses.softmax import SampledSoftmax
from recsys.losses.tasks import task_losses
from recsys.random import torch_rng
from tests.model.worlds import jagged, log_p


def pool_of(seed: int, size: int, kinds: int) -> tuple[torch.Tensor, Candidates, torch.Tensor]:
    g = torch_rng(seed, "pool")
    ids = torch.randint(2, 2 + kinds, (size,), generator=g)
    pool = Candidates(torch.randn(size, 3, generator=g).double(), ids, torch.randn(size, generator=g).double())
    target = torch.randperm(size, generator=g)[: max(1, size // 2)]
    return torch.randn(len(target), 3, generator=g).double(), pool, target


def slow_softmax(spec: SampledSoftmax, query: torch.Tensor, pool: Candidates, target: torch.Tensor) -> list[float]:
    losses, pool_rows = [], list(zip(pool.vectors, pool.log_q, strict=True))
    for b, t in enumerate(target.tolist()):
        logit = [float(query[b] @ v) - (float(q) if spec.corrected else 0) for v, q in pool_rows]
        kept = [n for n in range(len(pool)) if n == t or not (spec.mask_hits and pool.ids[n] == pool.ids[t])]
        loss = math.log(sum(math.exp(logit[n]) for n in kept)) - logit[t]
        if spec.symmetric:
            places = target.tolist()
            same = [c for c in range(len(places)) if c != b and spec.mask_hits and pool.ids[places[c]] == pool.ids[t]]
            column = [float(query[c] @ pool.vectors[t]) for c in range(len(places)) if c not in same]
            back = math.log(sum(map(math.exp, column))) - float(query[b] @ pool.vectors[t])
            loss = (loss + back) / 2
        losses.append(loss)
    return losses


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 6), st.tuples(*[st.booleans()] * 3))
def test_sampled_softmax(seed: int, size: int, kinds: int, knobs: tuple[bool, bool, bool]) -> None:
    loss = SampledSoftmax(corrected=knobs[0], mask_hits=knobs[1], symmetric=knobs[2])
    query, pool, target = pool_of(seed, size, kinds)
    expected = torch.tensor(slow_softmax(loss, query, pool, target), dtype=torch.float64)
    torch.testing.assert_close(loss(query, pool, target), expected)


def test_under_autocast_products_are_rounded_and_sums_are_not() -> None:
    query, pool, target = pool_of(0, 40, 30)
    query, pool = query.float().requires_grad_(), replace(pool, vectors=pool.vectors.float(), log_q=pool.log_q.float())
    with torch.autocast("cpu", torch.bfloat16):
        loss = SampledSoftmax()(query, pool, target)
    rounded = replace(pool, vectors=pool.vectors.bfloat16().double())
    truth = slow_softmax(SampledSoftmax(), query.detach().bfloat16().double(), rounded, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, torch.tensor(truth).float(), atol=1e-5, rtol=1e-5)
    loss.sum().backward()
    assert query.grad is not None
    assert query.grad.dtype == torch.float32


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 6))
def test_bpr(seed: int, size: int, kinds: int) -> None:
    query, pool, target = pool_of(seed, size, kinds)
    expected = []
    for b, t in enumerate(target.tolist()):
        rivals = [n for n in range(size) if pool.ids[n] != pool.ids[t]]
        gaps = [float(query[b] @ (pool.vectors[t] - pool.vectors[n])) for n in rivals]
        expected.append(sum(math.log1p(math.exp(-gap)) for gap in gaps) / max(1, len(gaps)))
    torch.testing.assert_close(BPR()(query, pool, target), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("corrected", [True, False])
def test_the_corpus_gives_the_full_softmax_however_often_a_positive_is_there(corrected: bool) -> None:
    g = torch_rng(0, "corpus")
    table = torch.randn(15, 3, generator=g).double().requires_grad_()
    query, positives = torch.randn(5, 3, generator=g).double(), torch.tensor([4, 4, 9, 4, 2])
    offer = Corpus()(positives, log_p(15, g), g)
    pool = Candidates(table[offer.items], offer.items, offer.log_q.double())
    loss = SampledSoftmax(corrected=corrected)(query, pool, offer.target)
    expected = F.cross_entropy(query @ table[2:].T, positives - 2, reduction="none")
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(each.sum(), table)[0] for each in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_the_correction_brings_the_in_batch_gradient_to_that_of_the_full_softmax() -> None:
    g = torch_rng(1, "correction")
    shares, table = log_p(40, g), torch.randn(40, 3, generator=g).double()
    query = torch.randn(1, 3, generator=g).double().requires_grad_()

    def slope(loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss.sum(), query)[0]

    full = slope(F.cross_entropy(query @ table[2:].T, torch.tensor([3])))
    off = {}
    for corrected in (True, False):
        drawn = torch.multinomial(shares.exp(), 200_000, replacement=True, generator=g)
        items = torch.cat([torch.tensor([5]), drawn])
        pool = Candidates(table[items], items, (shares + math.log(200_000))[items].double())
        loss = SampledSoftmax(corrected=corrected, mask_hits=False)(query, pool, torch.tensor([0]))
        off[corrected] = float((slope(loss) - full).norm() / full.norm())
    assert off[True] < 0.03
    assert off[False] > 0.2


def test_losses_are_defined_without_rivals_and_without_queries() -> None:
    query, pool, target = pool_of(0, 1, 1)
    assert SampledSoftmax()(query, pool, target).tolist() == [0.0]
    assert BPR()(query, pool, target).tolist() == [0.0]
    empty = Candidates(pool.vectors[:0], pool.ids[:0], pool.log_q[:0])
    for loss in (SampledSoftmax(symmetric=True), BPR()):
        assert loss(query[:0], empty, target[:0]).shape == (0,)
        assert loss(query[:0], concat(pool, empty), target[:0]).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_listwise_softmax(seed: int, lengths: list[int]) -> None:
    g = torch_rng(seed, "listwise")
    values = (torch.randn(sum(lengths), generator=g).double() * 20).requires_grad_()
    labels = torch.randint(0, 3, (sum(lengths),), generator=g).double()
    labels[torch.rand(len(labels), generator=g) < 0.2] = torch.nan
    logits = jagged(lengths, values)
    expected, start = [], 0
    for length in lengths:
        here = slice(start, start + length)
        known = ~labels[here].isnan()
        gains, scores = labels[here][known], values.detach()[here][known]
        expected.append(float(-(gains / gains.sum() * scores.log_softmax(0)).sum()) if gains.sum() > 0 else 0.0)
        start += length
    loss = ListwiseSoftmax()(logits, labels)
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))
    loss.sum().backward()
    assert values.grad is not None
    assert values.grad.isfinite().all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 7),
    st.lists(st.sampled_from(["binary", "regression"]), min_size=1, max_size=4),
)
def test_task_losses(seed: int, rows: int, kinds: list) -> None:
    g = torch_rng(seed, "tasks")
    tasks = tuple(Task(name=f"task{i}", kind=kind) for i, kind in enumerate(kinds))
    logits = (torch.randn(rows, len(kinds), generator=g).double() * 4).requires_grad_()
    labels = torch.rand(rows, len(kinds), generator=g).double().round()
    labels[torch.rand(labels.shape, generator=g) < 0.4] = torch.nan
    weight = torch.rand(rows, generator=g).double()
    sums, counts = task_losses(tasks, logits, labels, weight)
    for t, kind in enumerate(kinds):
        total = count = 0.0
        for r in range(rows):
            z, y, w = float(logits.detach()[r, t]), float(labels[r, t]), float(weight[r])
            if math.isnan(y):
                continue
            share = 1 / (1 + math.exp(-z))
            cross = -(y * math.log(share) + (1 - y) * math.log(1 - share))
            huber = (z - y) ** 2 / 2 if abs(z - y) < 1 else abs(z - y) - 0.5
            total, count = total + w * (cross if kind == "binary" else huber), count + 1
        assert float(sums.detach()[t]) == pytest.approx(total)
        assert float(counts[t]) == pytest.approx(count)
    sums.sum().backward()
    assert logits.grad is not None
    assert logits.grad[labels.isnan()].eq(0).all()
