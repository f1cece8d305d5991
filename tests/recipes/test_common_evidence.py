"""Parts that several detectors read, against computations of another kind."""

from __future__ import annotations

import numpy as np
import torch

from recsys.diagnose.label_geometry import LabelledFeatures, ProbeMistakes
from recsys.diagnose.repetition import ExactLists, ServedLists
from recsys.diagnose.stages import IndexAudit
from recsys.diagnose.training import TrainingTrace
from recsys.random import torch_rng
from recsys.recipes.common_evidence import CLICKS, clicks_of, label_parts, search_parts, vector_parts
from recsys.train.record import Recorder


def test_clicks_are_the_first_of_each_query() -> None:
    pairs = torch.tensor([[3, 7], [1, 5], [3, 7], [3, 9]])
    held = clicks_of(pairs, torch.tensor([1, 2, 3]))
    assert held.shape == (3, CLICKS)
    assert [row[row >= 0].tolist() for row in held] == [[5], [], [7, 7, 9]]


def test_what_is_searched_exactly_misses_nothing() -> None:
    items, queries = (torch.randn(n, 8, generator=torch_rng(n, "v")) for n in (300, 5))
    parts = {type(part): part for part in search_parts(items, queries, torch.full((5, CLICKS), -1), items)}
    audit, lists, exact = parts[IndexAudit], parts[ServedLists], parts[ExactLists]
    assert isinstance(audit, IndexAudit)
    assert isinstance(lists, ServedLists)
    assert isinstance(exact, ExactLists)
    assert audit.fidelity() == 1.0
    assert torch.equal(lists.found, exact.found)
    wanted = np.argsort(-(queries @ items.T).numpy(), axis=1, kind="stable")[:, :10]
    assert np.array_equal(lists.shown.numpy(), wanted)


def test_a_run_that_nobody_recorded_has_no_trace() -> None:
    vectors, recorder = torch.eye(3), Recorder()
    assert len(vector_parts(vectors, recorder)) == 1
    recorder.note(loss=1.0, gradient=2.0, weight=3.0)
    trace = vector_parts(vectors, recorder)[1]
    assert isinstance(trace, TrainingTrace)
    assert not trace.triplets


def test_a_probe_tells_apart_what_can_be_told_and_keeps_rows_with_their_labels() -> None:
    label = torch.arange(4).repeat_interleave(100)
    x = 3.0 * torch.eye(4)[label] + 0.5 * torch.randn(400, 4, generator=torch_rng(0, "x"))
    rows, mistakes = label_parts(x, label, 80, seed=0)
    assert isinstance(rows, LabelledFeatures)
    assert isinstance(mistakes, ProbeMistakes)
    assert len(mistakes.label) == 80
    assert (rows.x.argmax(1) == rows.label).mean() > 0.95
    assert (mistakes.label == mistakes.predicted).mean() > 0.95
    assert (np.diff(rows.label) < 0).any()  # in no order that means something
