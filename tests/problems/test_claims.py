"""Claims against closed forms and against statsmodels-like recomputation by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recsys.claims.judge import Measured, holm, judge
from recsys.claims.kinds import Keeps, Moves, Reaches, Recovers
from recsys.claims.matrix import Matrix
from recsys.claims.records import Record, parse_seeds
from recsys.diagnose.diagnosis import HEALTHY


def cells(**arms: list[float]) -> dict[tuple[str, str], dict[int, dict[str, float]]]:
    return {(arm, "on"): {100 + i: {"m": v} for i, v in enumerate(values)} for arm, values in arms.items()}


def outcome(claim: object, role: str = "guard", **arms: list[float]) -> str:
    return judge([(role, claim)], cells(**arms))[0].verdict  # type: ignore[list-item]


A, B = [0.50, 0.52, 0.49, 0.51, 0.50], [0.30, 0.33, 0.28, 0.31, 0.30]


@pytest.mark.parametrize(
    ("by", "wanted"), [(0.1, "holds"), (0.3, "refuted"), (0.2, "open"), (-0.1, "refuted")], ids=str
)
def test_moves_has_three_values(by: float, wanted: str) -> None:
    assert outcome(Moves(metric="m", arm="a", versus="b", by=by), a=A, b=B) == wanted


def test_a_move_down_is_a_negative_by() -> None:
    assert outcome(Moves(metric="m", arm="b", versus="a", by=-0.1), a=A, b=B) == "holds"
    assert outcome(Moves(metric="m", arm="b", versus="a", by=-0.3, relative=True), a=A, b=B) == "holds"
    assert outcome(Moves(metric="m", arm="b", versus="a", by=-0.0), a=A, b=B) == "holds"


def test_keeps_is_an_equivalence_test_and_not_a_failure_to_differ() -> None:
    near = [0.501, 0.519, 0.491, 0.511, 0.499]
    wild = [0.30, 0.70, 0.50, 0.65, 0.36]
    assert outcome(Keeps(metric="m", arm="a", versus="b", within=0.02), a=A, b=near) == "holds"
    assert outcome(Keeps(metric="m", arm="a", versus="b", within=0.02), a=A, b=wild) == "open"
    assert outcome(Keeps(metric="m", arm="a", versus="b", within=0.02), a=A, b=B) == "refuted"
    assert outcome(Keeps(metric="m", arm="a", versus="b", within=0.02, side="below"), a=A, b=B) == "holds"
    assert outcome(Keeps(metric="m", arm="a", versus="b", within=0.02, side="above"), a=A, b=B) == "refuted"


def test_recovers_is_a_share_of_what_was_lost() -> None:
    held = {"healthy": A, "broken": B, "arm": [b + 0.9 * (a - b) for a, b in zip(A, B, strict=True)]}
    assert outcome(Recovers(metric="m", arm="arm", broken="broken", healthy="healthy", share=0.8), **held) == "holds"
    assert outcome(Recovers(metric="m", arm="arm", broken="broken", healthy="healthy", share=0.95), **held) == "refuted"


def test_recovers_works_where_lower_is_better() -> None:
    held = {"healthy": B, "broken": A, "arm": B}
    assert outcome(Recovers(metric="m", arm="arm", broken="broken", healthy="healthy", share=0.8), **held) == "holds"


def test_a_remedy_of_what_was_not_there_is_not_reproduced() -> None:
    symptom = Moves(metric="m", arm="b", versus="a", by=-0.5)
    remedy = Moves(metric="m", arm="a", versus="b", by=0.1)
    found = judge([("symptom", symptom), ("remedy", remedy)], cells(a=A, b=B))
    assert [held.verdict for held in found] == ["refuted", "not reproduced"]


def test_the_interval_is_students() -> None:
    held = np.array(A) - np.array(B)
    measured = Measured.of(Moves(metric="m", arm="a", versus="b", by=0.1).contrast(cells(a=A, b=B)))
    low, high = stats.t.interval(0.95, len(held) - 1, held.mean(), stats.sem(held))
    assert (measured.low, measured.high) == pytest.approx((low, high))
    assert measured.p == pytest.approx(stats.ttest_1samp(held, 0.1, alternative="greater").pvalue)


def test_pairs_are_of_the_same_seed() -> None:
    held = cells(a=A, b=B)
    held["b", "on"] = dict(reversed(held["b", "on"].items()))
    del held["b", "on"][104]
    claim = Moves(metric="m", arm="a", versus="b", by=0.1)
    assert claim.contrast(held).values == pytest.approx(np.array(A[:4]) - np.array(B[:4]))


def test_one_seed_decides_nothing() -> None:
    assert outcome(Moves(metric="m", arm="a", versus="b", by=0.1), a=A[:1], b=B[:1]) == "open"


def test_a_number_that_is_none_decides_nothing() -> None:
    assert outcome(Reaches(metric="m", arm="a", at_least=0.1), a=[0.5, float("nan"), 0.5]) == "open"


def test_missing_cells_and_metrics_are_named() -> None:
    with pytest.raises(ValueError, match="no records of arm 'c'"):
        judge([("guard", Reaches(metric="m", arm="c", at_least=0))], cells(a=A))
    with pytest.raises(ValueError, match="no metric 'k'"):
        judge([("guard", Reaches(metric="k", arm="a", at_least=0))], cells(a=A))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_monotone_and_never_below_the_raw_value(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    assert min(adjusted) == pytest.approx(min(1.0, len(p) * min(p)))


def test_holm_holds_back_a_remedy_that_one_test_alone_would_pass() -> None:
    weak = [0.05, 0.30, 0.12, 0.16, 0.20]
    alone = [("remedy", Moves(metric="m", arm="w", versus="z", by=0.05))]
    many = alone + [("remedy", Moves(metric="m", arm="z", versus="w", by=0.05 + i)) for i in range(9)]
    held = cells(w=weak, z=[0.0] * 5)
    assert judge(alone, held)[0].verdict == "holds"  # type: ignore[arg-type]
    assert judge(many, held)[0].verdict == "open"  # type: ignore[arg-type]


def test_seeds_are_ranges_and_lists() -> None:
    assert parse_seeds("100-103,7") == (100, 101, 102, 103, 7)
    for wrong in ("", "a", "5-", "1-2-3", "9-3"):
        with pytest.raises(ValueError, match="seeds must be like"):
            parse_seeds(wrong)


def case(cause: str, seed: int, said: str) -> Record:
    told = {"cause": cause, "diagnosis": {"cause": said}}
    return Record(
        "case", "arm", f"{cause}: as it is", seed, "f", {"right": float(cause == said)}, 0, "claim", "c", {}, told
    )


def test_a_seed_with_some_of_its_cases_says_nothing_of_the_detector() -> None:
    whole = [case(cause, seed, cause) for seed in (100, 101) for cause in (HEALTHY, "broken")]
    cut_short = [case("broken", 102, HEALTHY)]
    matrix = Matrix.of([*whole, *cut_short])
    assert (matrix.macro_recall, matrix.false_alarm) == (1.0, 0.0)
    assert set(matrix.by_seed) == {100, 101}
    assert matrix.counts == {HEALTHY: {HEALTHY: 2}, "broken": {"broken": 2}}
