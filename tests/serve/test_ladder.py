"""What can't be done in time is left out by rungs, and said so; without a deadline time has no influence."""

from __future__ import annotations

import time

import numpy as np
import pytest

from recsys.funnel.funnel import Funnel
from recsys.funnel.ladder import FEWER, FULL, POPULAR, Ladder
from recsys.funnel.parts import Parts
from recsys.funnel.request import RecommendRequest
from tests.serve.conftest import SMALL


def ladder_at(now: float) -> Ladder:
    """A batch costs 10 ms before its candidates and 0.1 ms for each; requests have 100."""
    ladder = Ladder(0.25, clock=lambda: now)
    ladder.observe(0.010, 0.020, np.array([100, 100]))
    return ladder


def test_rungs_follow_the_time_that_is_left() -> None:
    ladder = ladder_at(now=5.0)
    start = ladder.at_start(np.array([np.inf, 5.030, 5.0130, 5.0120, 4.0]))
    assert start.tolist() == [FULL, FULL, FULL, POPULAR, POPULAR]
    for left, rung in ((np.inf, FULL), (0.011, FULL), (0.009, FEWER), (0.003, FEWER), (0.002, POPULAR)):
        assert ladder_at(5.0).before_rank(np.array([5.0 + left]), np.array([100])).tolist() == [rung]


def test_a_batch_is_ranked_together_so_all_wait_for_all() -> None:
    rung = ladder_at(5.0).before_rank(np.array([np.inf, 5.011]), np.array([100, 100]))
    assert rung.tolist() == [FULL, POPULAR]  # the other one alone needs 10 ms, and both with fewer 12.5 ms


def test_one_slow_batch_is_forgiven() -> None:
    ladder = Ladder(0.25, clock=lambda: 0.0)
    ladder.observe(10.0, 1.0, np.array([100]))
    due = np.array([0.5])
    refused = 0
    while ladder.at_start(due).tolist() == [POPULAR]:
        refused += 1
    assert 50 < refused < 500


@pytest.mark.parametrize(
    ("prepare", "pair", "degraded", "source"),
    [
        (0.0, 0.0, (), "personal"),
        (0.0, 1.2, ("fewer_candidates",), "personal"),
        (0.0, 60.0, ("popular_list",), "popular"),
        (6000.0, 0.0, ("popular_list",), "popular"),
    ],
)
def test_answers_name_what_was_left_out(
    parts: Parts, prepare: float, pair: float, degraded: tuple[str, ...], source: str
) -> None:
    funnel = Funnel(parts, SMALL)
    full = funnel.recommend([RecommendRequest(user_id="u5", k=5)])[0]
    funnel.ladder.prepare, funnel.ladder.pair, funnel.ladder.pairs = prepare, pair, 50.0
    answers = funnel.recommend(
        [
            RecommendRequest(user_id="u5", k=5, deadline_ms=60_000.0, arrived=time.perf_counter()),
        ]
    )
    assert (answers[0].degraded, answers[0].source) == (degraded, source)
    assert len(answers[0].item_ids) == 5
    if source == "personal":
        held = dict(zip(full.item_ids, full.scores, strict=True))
        for item, score in zip(answers[0].item_ids, answers[0].scores, strict=True):
            assert score == pytest.approx(held.get(item, score), abs=1e-5)


def test_fewer_candidates_are_never_fewer_than_asked_for(parts: Parts) -> None:
    funnel = Funnel(parts, SMALL)
    funnel.recommend([RecommendRequest(user_id="u5")])
    funnel.ladder.prepare, funnel.ladder.pair = 0.0, 1.44
    answer = funnel.recommend([RecommendRequest(user_id="u5", k=35, deadline_ms=60_000.0)])[0]
    assert answer.degraded == ("fewer_candidates",)
    assert len(answer.item_ids) == 35


def test_time_that_is_up_before_the_start_gives_the_popular_list(parts: Parts) -> None:
    funnel = Funnel(parts, SMALL)
    late = RecommendRequest(user_id="u5", k=5, deadline_ms=10.0, arrived=time.perf_counter() - 1)
    assert funnel.recommend([late])[0].degraded == ("popular_list",)
    assert funnel.recommend([RecommendRequest(user_id="u5", k=5)])[0].degraded == ()
