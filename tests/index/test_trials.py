"""Layouts are compared by what they cost for the same recall, within a fifth of the build and within the memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.index.memory_source import MemorySource
from recsys.index.plan import Budgets, Plan, assigned_cpu, memory_of, planned, query_ms, trained_cpu
from recsys.index.spec import IndexSpec
from recsys.index.trials import ASKED, FACTORS, GAIN, SHARE, TRAIN_ROUNDS, TRAIN_ROWS, Trial, affordable, tried
from tests.index.shop import shop

N, DIM = 20_000, 64


def plan_of(source: MemorySource, budgets: Budgets, seconds: float) -> Plan:
    plan = planned(source, IndexSpec(flat_limit=1000), budgets, "none", N)
    return replace(plan, cpu_seconds=seconds)


@pytest.fixture(scope="module")
def source() -> MemorySource:
    return MemorySource(shop(N).items, "cosine")


def test_costs_are_compared_at_the_same_recall() -> None:
    rule = Trial(64, 8, (0.5, 0.7, 0.8, 0.9), (1.0, 2.0, 4.0, 8.0))
    assert rule.cost_over(rule) == pytest.approx(1.0)
    half_the_cost = replace(rule, cpu_ms=(0.5, 1.0, 2.0, 4.0))
    assert half_the_cost.cost_over(rule) == pytest.approx(0.5)
    a_rung_later = replace(rule, recalls=(0.3, 0.5, 0.7, 0.8))
    assert a_rung_later.cost_over(rule) == pytest.approx(2.0)
    assert replace(rule, recalls=(0.1, 0.2, 0.3, 0.4)).cost_over(rule) == np.inf


@pytest.mark.parametrize("seconds", [0.0, 3.0, 5.0, 12.0, 100.0])
@pytest.mark.parametrize("memory", [None, 0.003, 0.01])
def test_what_is_tried_stays_in_a_fifth_of_the_build_and_in_the_memory(
    source: MemorySource, seconds: float, memory: float | None
) -> None:
    plan = plan_of(source, Budgets(memory_gb=memory), seconds)
    layouts = affordable(plan, source, Budgets(memory_gb=memory), N)
    cost = 0.0
    for lists, parts in layouts:
        cost += trained_cpu(min(N, TRAIN_ROWS * lists), DIM, lists) * (1 + TRAIN_ROUNDS) / 5
        cost += assigned_cpu(N, DIM, lists, len(parts)) + ASKED * len(parts)
        if memory is not None:
            most = max(memory * 1e9, plan.memory_bytes)
            assert all(memory_of(N, DIM, lists, each) <= most for each in parts)
    assert cost <= SHARE * seconds
    assert len(layouts) == len(FACTORS) or seconds < 100 or memory == 0.003


def test_the_cheapest_that_was_tried_is_planned(source: MemorySource) -> None:
    said: list[str] = []
    plan = plan_of(source, Budgets(), 100.0)
    chosen = tried(plan, source, shop(N).users[::2], Budgets(), said.append)
    assert plan.large is not None
    assert chosen.large is not None
    costs = chosen.tried["costs"]
    assert set(costs) == {f"{int(factor * plan.large.lists)} x PQ{DIM}" for factor in FACTORS}
    assert costs[f"{plan.large.lists} x PQ{DIM}"] == pytest.approx(1.0, abs=1e-4)
    best = min(costs, key=lambda each: costs[each])
    kept = costs[best] >= GAIN
    assert chosen.large.lists == (plan.large.lists if kept else int(best.split()[0]))
    assert chosen.memory_bytes == memory_of(N, DIM, chosen.large.lists, DIM)
    assert "tried on" in said[0]


def test_nothing_is_tried_without_queries_or_where_it_costs_too_much(source: MemorySource) -> None:
    plan, said = plan_of(source, Budgets(), 1.0), list[str]()
    assert tried(plan, source, np.zeros((0, DIM), np.float32), Budgets(), said.append) is plan
    assert not said
    assert tried(plan, source, shop(N).users, Budgets(), said.append) is plan
    assert "nothing tried" in said[0]


def test_a_query_costs_more_by_every_thing_that_it_looks_at(source: MemorySource) -> None:
    large = plan_of(source, Budgets(), 1.0).large
    assert large is not None
    least = query_ms(N, large, DIM, 8, 2.0)
    assert query_ms(N, large, DIM, 16, 2.0) > least
    assert query_ms(N, large, DIM, 8, 4.0) > least
    assert query_ms(2 * N, large, DIM, 8, 2.0) > least
