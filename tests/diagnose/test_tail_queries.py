"""Causes of a low recall on new queries, on evidence written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence
from recsys.diagnose.files import load_evidence, save_evidence
from recsys.diagnose.tail_queries import (
    COVERAGE,
    IDS,
    NEGATIVES,
    REPRESENTATION,
    VOCABULARY,
    JudgedQueries,
    QueryBatches,
    SearchRefits,
    TailQueries,
)  # fmt: skip

TYPED, NEW = 50, 200


def column(head: float, tail: float, seed: int = 0) -> np.ndarray:
    """Recall of typed queries, then of new ones, about these means."""
    draw = np.random.default_rng(seed)
    spread = 0.1 * draw.standard_normal(TYPED + NEW)
    return np.clip(np.repeat([head, tail], [TYPED, NEW]) + spread, 0, 1)


def judged(tail: float = 0.5, **given: np.ndarray) -> JudgedQueries:
    some = np.full(TYPED + NEW, 4.0)
    plain = {
        "typed": np.repeat([100.0, 0.0], [TYPED, NEW]), "recall": column(0.95, tail), "lexical": column(0.6, 0.2),
        "rarest": np.full(TYPED + NEW, 200.0), "relevant": some, "covered": some, "found_covered": tail * some,
        "found_uncovered": 0 * some, "ablated": column(0.9, tail),
    }  # fmt: skip
    return JudgedQueries(**{**plain, **given})


def say(held: JudgedQueries, without: float | None = None, masked: float | None = None) -> Diagnosis:
    own = held.recall
    refits = SearchRefits(
        own if without is None else column(0.95, without), own if masked is None else column(0.95, masked)
    )
    batches = QueryBatches(np.array([20.0, 22.0]), np.array([0.04, 0.05]), 256)
    return TailQueries()(Evidence.of(held, refits, batches))


def test_each_cause_by_the_recall_that_it_explains() -> None:
    assert say(judged(), without=0.8).cause == IDS
    assert say(judged(), masked=0.8).cause == NEGATIVES
    assert say(judged(), without=0.65, masked=0.8).cause == NEGATIVES
    rarest = np.tile([3.0, 300.0], (TYPED + NEW) // 2)
    split = judged(recall=np.where(rarest < 20, column(0.95, 0.2), column(0.95, 0.8)), rarest=rarest)
    assert say(split).cause == VOCABULARY
    assert say(judged(lexical=column(0.6, 0.8))).cause == REPRESENTATION
    half = np.full(TYPED + NEW, 2.0)
    gone = judged(covered=half, found_covered=0.9 * half, found_uncovered=0.1 * half)
    assert say(gone).cause == COVERAGE
    said = say(replace(gone, lexical=column(0.6, 0.8)))
    assert said.cause == COVERAGE  # what was never clicked explains that words do better
    assert "explains" in said.rejected[IDS]


def test_words_that_win_everywhere_are_no_matter_of_the_tail() -> None:
    assert say(judged(recall=column(0.5, 0.5), lexical=column(0.8, 0.7))).cause == ABSTAIN


def test_health_and_abstention() -> None:
    assert say(judged(tail=0.9)).cause == HEALTHY
    assert say(judged(tail=0.9), without=0.93).cause == HEALTHY
    said = say(judged(tail=0.4))
    assert said.cause == ABSTAIN
    assert "wider vector" in str(said.next_experiment)
    alone = judged(typed=np.full(TYPED + NEW, 3.0))
    assert "that it doesn't" in str(say(alone).next_experiment)


def test_a_gain_within_its_error_is_none() -> None:
    few = {name: held[TYPED - 2 : TYPED + 3] for name, held in vars(judged()).items()}
    held = JudgedQueries(**few)
    noisy = held.recall + np.array([0, 0, 0.9, -0.5, 0.1])
    said = TailQueries()(Evidence.of(held, SearchRefits(noisy, held.recall)))
    assert said.scores[IDS] == 0


def test_evidence_travels_as_files(tmp_path: Path) -> None:
    held = judged()
    parts = (held, SearchRefits(column(0.95, 0.8), held.recall), QueryBatches(np.array([20.0]), np.array([0.04]), 256))
    save_evidence(Evidence.of(*parts), tmp_path)
    assert TailQueries()(load_evidence(tmp_path)) == TailQueries()(Evidence.of(*parts))
    with pytest.raises(ValueError, match="one row a query"):
        JudgedQueries(**{**vars(held), "typed": held.typed[:3]})
