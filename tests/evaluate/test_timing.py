from itertools import count

import pytest

from recsys.evaluate.timing import interleave


def test_arms_are_interleaved_and_the_first_runs_twice():
    ran = []
    clock = count()  # every look at the clock is one second later
    arms = {"ours": lambda: ran.append("ours"), "theirs": lambda: (ran.append("theirs"), next(clock), next(clock))}
    found = interleave(arms, rounds=5, clock=lambda: float(next(clock)))
    assert ran[:2] == ["ours", "theirs"]  # untimed
    rounds = [sorted(ran[start : start + 3]) for start in range(2, len(ran), 3)]
    assert rounds == [["ours", "ours", "theirs"]] * 5
    assert len({tuple(ran[start : start + 3]) for start in range(2, len(ran), 3)}) > 1  # the order changes
    assert found.median("ours") == 1
    assert found.ratio("theirs", "ours") == pytest.approx(3)
    assert found.aa_ratio == 1
    assert found.quiet()
    assert found.to_json()["rounds"] == 5
