"""The diagnosis of a shared encoder on evidence made by hand: one cause at a time."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence
from recsys.diagnose.shared_encoder import AttributeProbe, CandidateSwap, Negatives, SharedEncoderConflict
from recsys.diagnose.tasks import GradientTrace, Interventions

TASKS = ("retrieval", "ranking")
FINE, LOST = {"as_is": (0.8, 0.7), "alone": (0.8, 0.7)}, {"as_is": (0.8, 0.6), "alone": (0.8, 0.7)}
USELESS = dict.fromkeys(("refitted", "normalised", "wider", "split"), (0.8, 0.605))
BACK = (0.79, 0.69)


def evidence(
    tried: dict[str, tuple[float, float]],
    swap: tuple[float, float, float, float] = (0.7, 0.7, 0.7, 0.7),
    ratio: float = 5.0,
    false: float = 0.05,
) -> Evidence:
    norms = np.stack([np.full(10, ratio), np.ones(10)], axis=1)
    return Evidence.of(
        GradientTrace(TASKS, np.arange(10), norms, np.full((10, 1), 0.1)),
        Interventions(TASKS, tried),
        CandidateSwap(*swap),
        Negatives(false),
    )


FALLEN = (0.7, 0.7, 0.6, 0.6)  # the new ranker is worse on both
CAUSES = [
    (HEALTHY, evidence(FINE)),
    ("candidate_shift", evidence(FINE, (0.7, 0.5, 0.7, 0.5))),
    ("head_undertrained", evidence(LOST | USELESS | {"refitted": BACK}, FALLEN)),
    (
        "scale_dominance",
        evidence(LOST | USELESS | {"normalised": BACK, "wider": BACK, "split": BACK}, FALLEN, ratio=90),
    ),
    ("shared_capacity", evidence(LOST | USELESS | {"wider": BACK, "split": BACK}, FALLEN, ratio=90)),
    ("gradient_conflict", evidence(LOST | USELESS | {"split": BACK}, FALLEN)),
]


@pytest.mark.parametrize(("cause", "held"), CAUSES, ids=[cause for cause, _ in CAUSES])
def test_each_cause_is_named_and_the_rivals_are_rejected(cause: str, held: Evidence) -> None:
    said = SharedEncoderConflict()(held)
    assert said.cause == cause
    assert set(said.rejected) == set(SharedEncoderConflict.causes) - {cause}


def test_a_cosine_near_zero_and_a_large_ratio_are_no_cause_by_themselves() -> None:
    assert SharedEncoderConflict()(evidence(FINE, ratio=500)).cause == HEALTHY


def test_it_abstains_and_names_the_runs_that_are_missing() -> None:
    said = SharedEncoderConflict()(evidence(LOST, FALLEN))
    assert said.cause == ABSTAIN
    assert "refitted" in (said.next_experiment or "")
    said = SharedEncoderConflict()(evidence(LOST | USELESS, FALLEN))
    assert said.cause == ABSTAIN
    assert "twice the steps" in (said.next_experiment or "")


def test_a_swap_splits_the_change_into_the_rankers_and_the_lists() -> None:
    swap = CandidateSwap(old_on_old=0.8, old_on_new=0.6, new_on_old=0.75, new_on_new=0.57)
    assert swap.observed == pytest.approx(-0.23)
    assert swap.ranker == pytest.approx(-0.04)
    assert swap.lists == pytest.approx(-0.19)
    assert swap.ranker + swap.lists == pytest.approx(swap.observed)


def test_the_probe_is_a_row() -> None:
    held = evidence(FINE)
    more = Evidence.of(*held.parts.values(), AttributeProbe(np.array([0.2, 0.4]), np.array([0.6, 0.8])))
    rows = {row.signal: row.value for row in SharedEncoderConflict()(more).evidence}
    assert rows["R^2 of item attributes lost by the joint encoder"] == pytest.approx(0.4)
