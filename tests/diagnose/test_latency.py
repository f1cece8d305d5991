"""Causes of late requests and of worse students, with columns made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Evidence
from recsys.diagnose.latency import CAUSES, Agreement, EncoderMigration, Spans
from recsys.random import rng
from recsys.recipes.endpoint import Endpoint, waits

NUM = 2000


def spans(**ms: float) -> Spans:
    noise = np.exp(0.1 * rng(0, "noise").standard_normal(NUM))
    usual = {"queue": 0.1, "tokenise": 0.2, "encode": 2.0, "search": 1.0, "network": 0.5} | ms
    columns = {name: held * noise for name, held in usual.items()}
    tokens = np.full(NUM, 4)
    zero = np.zeros(NUM)
    return Spans(**columns, tokens=tokens, padded=tokens, hit=zero, repeated=zero, budget_ms=10.0)


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (spans(), HEALTHY),
        (spans(encode=20), "encoder_compute"),
        (spans(tokenise=20), "tokenizer"),
        (spans(search=20), "slow_index"),
        (spans(network=20), "network"),
        (spans(queue=20), "queueing"),
        (replace(spans(encode=20), padded=np.full(NUM, 32)), "padding"),
        (replace(spans(encode=20), repeated=np.ones(NUM), hit=(np.arange(NUM) % 9 == 0).astype(float)), "cold_cache"),
        (replace(spans(encode=20), repeated=np.ones(NUM)), "encoder_compute"),  # there is no cache
        (spans(tokenise=6, encode=6, search=6), ABSTAIN),
    ],
)
def test_the_span_of_late_requests_names_the_cause(given: Spans, cause: str) -> None:
    said = EncoderMigration()(Evidence.of(given))
    assert said.cause == cause
    if cause != ABSTAIN:
        assert set(said.rejected) == set(CAUSES) - {cause}


@pytest.mark.parametrize(
    ("trained", "fresh", "cause"), [(0.9, 0.85, HEALTHY), (0.5, 0.45, "student_capacity"), (0.8, 0.4, "student_data")]
)
def test_agreement_tells_capacity_from_data(trained: float, fresh: float, cause: str) -> None:
    said = EncoderMigration()(Evidence.of(spans(), Agreement(trained, fresh, fresh, fresh)))
    assert said.cause == cause


def test_waits_are_those_of_a_queue_of_random_arrivals() -> None:
    random = rng(0, "queue")
    gaps, busy = random.exponential(1.0, 200_000), random.exponential(0.6, 200_000)
    assert waits(busy, gaps).mean() == pytest.approx(0.6 * 0.6 / (1 - 0.6), rel=0.1)  # M/M/1
    assert waits(np.ones(3), np.array([0.0, 2.0, 0.25])).tolist() == [0.0, 0.0, 0.75]


def test_settings_that_mean_nothing_are_named() -> None:
    with pytest.raises(ValueError, match="interval_ms must be positive, got 0.0"):
        Endpoint(interval_ms=0)
