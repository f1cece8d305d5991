"""The audit of a review queue, on logs written by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence
from recsys.diagnose.review import NOISE, RANDOM, SELECTED, ReviewAudit, ReviewLog, kappa
from recsys.random import rng


def log(rate: tuple[float, float], believed: float = 0.0, audit: float = 0.05, error: float = 0.0) -> ReviewLog:
    """Ads of two scores, reviewed at two rates; the model gives the hidden violations a share `believed` of their due."""
    draw, num = rng(0, "review"), 20_000
    y, score = (draw.random(num) < 0.06).astype(float), draw.integers(2, size=num).astype(float)
    queued = draw.random(num) < np.where(score > 0, *rate)
    said = [np.where(queued, np.abs(y - (draw.random(num) < error)), np.nan) for _ in range(2)]
    prediction = np.where(queued, np.nan_to_num(said[0]), believed * y)
    audited = np.where(draw.random(num) < audit, y, np.nan)
    return ReviewLog(prediction, score, queued, said[0], audited, said[1])


def say(held: ReviewLog) -> str:
    return ReviewAudit()(Evidence.of(held)).cause


def test_causes_are_told_apart() -> None:
    assert say(log((0.8, 0.05))) == SELECTED
    assert say(log((0.4, 0.4))) == RANDOM
    assert say(log((0.8, 0.05), believed=1.0)) == HEALTHY
    assert say(log((1.0, 1.0))) == HEALTHY
    assert say(log((1.0, 1.0), error=0.2)) == NOISE


def test_an_audit_that_is_too_small_or_missing_asks_for_more() -> None:
    for audit in (0.0005, 0.0):
        said = ReviewAudit()(Evidence.of(log((0.8, 0.05), audit=audit)))
        assert said.cause == ABSTAIN
        assert said.evidence
        assert "audit" in str(said.next_experiment)


def test_without_second_reviews_nothing_is_said_of_noise() -> None:
    held = log((0.8, 0.05), error=0.2)
    alone = ReviewLog(held.prediction, held.queue_score, held.queued, held.label, held.audit_label)
    assert ReviewAudit()(Evidence.of(alone)).scores[NOISE] == 0


def test_columns_of_different_lengths_are_refused() -> None:
    held = log((0.8, 0.05))
    with pytest.raises(ValueError, match="one row an example"):
        ReviewLog(held.prediction[:3], held.queue_score, held.queued, held.label, held.audit_label)


@pytest.mark.parametrize("size", [2, 60])
def test_kappa_is_sklearn_s(size: int) -> None:
    draw = rng(size, "kappa")
    a, b = (draw.random((2, size)) < 0.5).astype(float)
    a[0], b[0], a[1] = 1, 1, 0
    assert kappa(np.append(a, np.nan), np.append(b, 1.0))[0] == pytest.approx(cohen_kappa_score(a, b))
    assert kappa(a, None) == (1.0, 0.0)
