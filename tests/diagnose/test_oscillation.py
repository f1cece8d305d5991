"""The triage on evidence made by hand: one cause at a time, and what it asks for."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence
from recsys.diagnose.oscillation import OscillationTriage
from recsys.diagnose.tasks import GradientTrace, Interventions, TaskCurves

TASKS = ("a", "b")
GOOD = (0.8, 0.8)
WELL = {"as_is": GOOD, "alone": GOOD, "normalised": GOOD, "slower": (0.7, 0.7)}


def evidence(
    tried: dict[str, tuple[float, float]],
    swings: dict[str, tuple[float, float]] | None = None,
    ratio: float = 2.0,
    swing: float = 0.002,
    noise: float = 0.0005,
    blocks: bool = False,
) -> Evidence:
    rng, steps = np.random.default_rng(0), 40
    norms = np.stack([np.full(steps, ratio), np.ones(steps)], axis=1)
    rows = np.eye(2, dtype=int)[np.arange(steps) // 5 % 2] * 32 if blocks else np.full((steps, 2), 16)
    curve = 0.8 + swing * rng.normal(size=(30, 2))
    return Evidence.of(
        GradientTrace(TASKS, np.arange(steps), norms, rng.normal(0, 0.1, (steps, 1)), rows),
        TaskCurves(TASKS, np.arange(30), curve, np.full(2, noise)),
        Interventions(TASKS, tried, swings or {}),
    )


CAUSES = [
    (HEALTHY, evidence(WELL)),
    ("evaluation_noise", evidence(WELL, swing=0.03, noise=0.04)),
    ("blocked_batches", evidence(WELL | {"as_is": (0.8, 0.6), "mixed": GOOD}, blocks=True)),
    ("learning_rate", evidence(WELL | {"as_is": (0.75, 0.76), "slower": (0.79, 0.79)})),
    ("scale_dominance", evidence(WELL | {"as_is": (0.8, 0.6)}, ratio=900)),
    (
        "shared_capacity",
        evidence(WELL | {"as_is": (0.8, 0.6), "normalised": (0.8, 0.65), "wider": GOOD, "split": GOOD}),
    ),
    (
        "gradient_conflict",
        evidence(WELL | {"as_is": (0.8, 0.6), "normalised": (0.7, 0.7), "wider": (0.7, 0.7), "split": GOOD}),
    ),
]


@pytest.mark.parametrize(("cause", "held"), CAUSES, ids=[cause for cause, _ in CAUSES])
def test_each_cause_is_named_and_the_rivals_are_rejected(cause: str, held: Evidence) -> None:
    said = OscillationTriage()(held)
    assert said.cause == cause
    assert set(said.rejected) == set(OscillationTriage.causes) - {cause}
    assert all(row.signal for row in said.evidence)


def test_blocks_that_do_no_harm_are_no_cause() -> None:
    calm = {"as_is": (0.002, 0.002), "mixed": (0.002, 0.002)}
    assert OscillationTriage()(evidence(WELL | {"mixed": GOOD}, calm, blocks=True)).cause == HEALTHY


def test_a_large_ratio_without_loss_is_no_cause() -> None:
    assert OscillationTriage()(evidence(WELL, ratio=900)).cause == HEALTHY


def test_without_interventions_it_asks_for_the_next_one() -> None:
    said = OscillationTriage()(evidence({"as_is": (0.8, 0.6), "alone": GOOD}))
    assert said.cause == ABSTAIN
    assert "normalised" in (said.next_experiment or "")
    said = OscillationTriage()(evidence({"as_is": (0.8, 0.6), "alone": GOOD, "normalised": (0.8, 0.65)}))
    assert said.cause == ABSTAIN
    assert "wider" in (said.next_experiment or "")
