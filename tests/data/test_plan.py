"""Global batches are a matter of the plan alone: seats and parties, row groups and lanes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.plan import WINDOW, Plan, RowGroup, webster
from tests.data.logs import request_rows, write_groups
from tests.model.worlds import dataset

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any)


def brute_force(lengths: list[int], seats: int) -> list[int]:
    """Seats handed out one by one to the party with the greatest quotient, the first of equals."""
    taken = [0] * len(lengths)
    for _ in range(min(seats, sum(lengths))):
        open_ = [lane for lane, length in enumerate(lengths) if taken[lane] < length]
        # exact: (2 i + 1) / n is compared by cross-multiplication, scaled to a common denominator
        common = np.lcm.reduce([lengths[lane] for lane in open_], dtype=object)
        best = min(open_, key=lambda lane: ((2 * taken[lane] + 1) * common // lengths[lane], lane))
        taken[best] += 1
    return taken


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(0, 400))
def test_seats_are_those_of_webster(lengths: list[int], seats: int) -> None:
    assert webster(np.array(lengths), seats).tolist() == brute_force(lengths, seats)


def test_seats_of_a_known_election() -> None:
    """The textbook example of Webster's method: 53, 24 and 23 thousand votes, seven seats."""
    assert webster(np.array([53_000, 24_000, 23_000]), 7).tolist() == [3, 2, 2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 10_000_000), min_size=1, max_size=24), st.integers(1, 5000), st.integers(0, 2**31))
def test_batches_of_large_logs_are_full_and_never_give_back(lengths: list[int], size: int, far: int) -> None:
    held = np.array(lengths)
    step = far % -(-sum(lengths) // size)
    plan = Plan((), len(lengths), size, 0, True)
    part = plan.cut(held, step + 1) - plan.cut(held, step)
    assert part.min() >= 0
    assert part.sum() == min(size, sum(lengths) - step * size)
    assert np.all(np.abs(part - part.sum() * held / held.sum()) <= len(lengths)), "in proportion to the lanes"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 60),
    st.integers(0, 5),
    st.booleans(),
)
def test_every_row_group_is_in_one_window_of_one_lane(
    sizes: list[int], lanes: int, batch_size: int, epoch: int, shuffle: bool
) -> None:
    groups = tuple(RowGroup("file", place, rows) for place, rows in enumerate(sizes))
    plan = Plan(groups, lanes, batch_size, 3, shuffle)
    tickets = plan.tickets(epoch)
    assert len(tickets) == lanes
    dealt = [group for lane in tickets for ticket in lane for group in ticket.groups]
    assert sorted(dealt, key=lambda group: group.group) == list(groups)
    assert max(len(ticket.groups) for lane in tickets for ticket in lane) <= WINDOW
    assert max(map(len, tickets)) - min(map(len, tickets)) <= 1
    seeds = [ticket.seed for lane in tickets for ticket in lane]
    assert len(set(seeds)) == len(seeds) if shuffle else set(seeds) == {None}
    assert plan.tickets(epoch) == tickets
    lengths = np.array([sum(ticket.rows for ticket in lane) for lane in tickets])
    assert plan.cut(lengths, plan.steps).tolist() == lengths.tolist()
    assert plan.cut(lengths, plan.steps - 1).sum() < lengths.sum()


def test_epochs_and_seeds_deal_differently() -> None:
    groups = tuple(RowGroup("file", place, 10) for place in range(30))
    dealt = [Plan(groups, 4, 8, seed, True).tickets(epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert dealt[0] != dealt[1] != dealt[2] != dealt[0]
    in_order = Plan(groups, 4, 8, 0, False).tickets(7)
    assert [group.group for ticket in in_order[1] for group in ticket.groups] == list(range(1, 30, 4))


def test_plan_of_files(tmp_path: Path) -> None:
    write_groups(request_rows(20, dataset()), tmp_path, [7, 6, 0, 5, 2], files=2)
    plan = Plan.of(tmp_path, "train", lanes=3, batch_size=6, seed=0, shuffle=True)
    assert [group.rows for group in plan.groups] == [7, 6, 5, 2]
    assert (plan.rows, plan.steps) == (20, 4)


def test_mistakes_have_remedies(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no request log 'train': prepare"):
        Plan.of(tmp_path, "train", lanes=1, batch_size=1, seed=0, shuffle=True)
    write_groups(request_rows(0, dataset()), tmp_path, [0])
    with pytest.raises(ValueError, match="is empty"):
        Plan.of(tmp_path, "train", lanes=1, batch_size=1, seed=0, shuffle=True)
    for lanes, size in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="must be positive, got 0"):
            Plan.of(tmp_path, "train", lanes=lanes, batch_size=size, seed=0, shuffle=True)
