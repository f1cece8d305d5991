from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.spec import DAY
from recsys.data.split import SplitSpec, boundaries, moments, seconds_of


def test_shares_are_of_events() -> None:
    times = np.random.default_rng(0).integers(0, 10**6, 5000)
    validation, test = moments(SplitSpec(validation_share=0.2, test_share=0.1), times, None)
    assert abs((times >= test).mean() - 0.1) < 0.002
    assert abs(((times >= validation) & (times < test)).mean() - 0.2) < 0.002


def test_the_sources_own_times_win_unless_given() -> None:
    times = np.arange(0, 100 * DAY, DAY)
    fixed = (50 * DAY, 70 * DAY)
    assert moments(SplitSpec(), times, fixed) == fixed
    assert moments(SplitSpec(test_start=80 * DAY), times, fixed) == (50 * DAY, 80 * DAY)
    assert moments(SplitSpec(validation_start="1970-02-01", test_start="1970-03-01T12:00:00"), times, fixed) == (
        31 * DAY,
        59 * DAY + DAY // 2,
    )


@pytest.mark.parametrize(
    ("validation", "test"), [(70 * DAY, 50 * DAY), (0, 50 * DAY), (50 * DAY, 50 * DAY), (50 * DAY, 100 * DAY)]
)
def test_an_empty_split_is_an_error_that_names_the_times(validation: int, test: int) -> None:
    with pytest.raises(ValueError, match=rf"validation_start={validation}, test_start={test} .* data.spec.split"):
        moments(SplitSpec(validation_start=validation, test_start=test), np.arange(0, 100 * DAY, DAY), None)


def test_mistakes_in_the_specification_are_found_at_once() -> None:
    with pytest.raises(ValueError, match=r"test_share must lie in \(0, 0.5\), got 0.7"):
        SplitSpec(test_share=0.7)
    with pytest.raises(TypeError, match="SplitSpec.kind"):
        SplitSpec(kind="random")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'December' isn't a date such as 2017-12-01"):
        seconds_of("December")
    assert seconds_of("2017-12-01") == seconds_of("2017-12-01 00:00:00") == 1_512_086_400


def test_all_users_share_global_times() -> None:
    user, time = np.array([2, 2, 2, 5, 5]), np.array([1, 5, 9, 5, 7])
    bounds = boundaries(SplitSpec(), user, time, 7, (5, 7))
    assert bounds.part(user, time).tolist() == [0, 1, 2, 1, 2]
    assert bounds.end.tolist() == [10] * 7


@given(events=st.lists(st.tuples(st.integers(2, 6), st.integers(0, 8)), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_leave_last_out_takes_the_last_two_visits_of_whoever_has_three(events: list[tuple[int, int]]) -> None:
    events = sorted(events)
    user, time = np.array(events).T
    expected = []
    for who, when in events:
        visits = sorted({t for u, t in events if u == who})
        place = visits.index(when) - len(visits)
        expected.append({-1: 2, -2: 1}.get(place, 0) if len(visits) >= 3 else 0)
    bounds = boundaries(SplitSpec(kind="leave_last_out"), user, time, 8, (1, 2))
    assert bounds.part(user, time).tolist() == expected
