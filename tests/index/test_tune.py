"""The cheapest way that reaches the target is taken; where none does, the best that the latency allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys.index.compressed import Choices, CompressedEngine
from recsys.index.large import LargeBuild, LargeSpec
from recsys.index.running_top import RunningTop
from recsys.index.source import MatrixSource
from recsys.index.tune import Way, _refines, chosen, fallen_short, ways, with_choice
from recsys.index.vectors_folder import Asked, in_turn

N, DIM = 4000, 16
WAYS = [Way(8, 2, 0, 0.80, 0.1), Way(16, 8, 0, 0.95, 0.4), Way(16, 2, 0, 0.94, 0.3), Way(32, 2, 0, 0.96, 0.5)]


@pytest.mark.parametrize(
    ("target", "latency", "taken"),
    [(0.94, None, 2), (0.945, None, 1), (0.99, None, 3), (0.99, 0.35, 2), (0.5, 0.05, 0), (0.955, 0.4, 1)],
)
def test_the_way_that_is_taken(target: float, latency: float | None, taken: int) -> None:
    assert chosen(WAYS, target, latency) == WAYS[taken]


@pytest.mark.parametrize(
    ("target", "latency", "told"),
    [
        (0.94, None, None),
        (0.94, 0.3, None),
        (0.945, 0.35, "latency_ms=0.400"),
        (0.5, 0.05, "0.8000 in 0.100 ms is what is taken; recall 0.5 takes latency_ms=0.100"),
        (0.99, 0.35, "recall=0.9600 with latency_ms=0.500; half floats"),
    ],
)
def test_budgets_that_can_t_be_kept_name_those_that_can(target: float, latency: float | None, told: str | None) -> None:
    said = fallen_short(WAYS, chosen(WAYS, target, latency), target, latency)
    assert said is None if told is None else told in str(said)


def test_the_most_rows_of_half_floats_are_ranked_from_as_many_candidates() -> None:
    assert _refines(800, 100) == [8.0]
    assert _refines(3200, 100) == [32.0]
    assert _refines(0, 100) == [8.0, 4.0, 3.0, 2.0, 1.5]


def test_a_choice_without_half_floats_names_no_file() -> None:
    choices = Choices(metric="cosine", probes=1, tail="tail.npy")
    assert with_choice(choices, WAYS[0]).tail is None
    assert with_choice(choices, Way(8, 2.0, 400, 0.9, 0.1)).tail_rows == 400


def test_half_floats_rank_more_rows_where_neighbours_are_very_near(tmp_path: Path) -> None:
    """Groups of vectors that differ in less than a step of their bytes."""
    draw = np.random.default_rng(0)
    rows = np.repeat(draw.standard_normal((8, DIM)), N // 8, axis=0) + 3e-3 * draw.standard_normal((N, DIM))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows.astype(np.float16))
    source = MatrixSource(tmp_path / "rows.npy", "cosine")
    build = LargeBuild(source, LargeSpec(metric="cosine", lists=2, parts=DIM, tail="copy"), rows[:0], tmp_path / "work")
    build.encode(in_turn)
    (tmp_path / "index").mkdir()
    build.join(tmp_path / "index", in_turn)
    Choices(metric="cosine", probes=2, tail="tail.npy").save(tmp_path / "index")
    engine = CompressedEngine.load(tmp_path / "index")
    queries = rows[::100]
    top = RunningTop(queries, 100, "cosine")
    top.add(source.read(0, N)[1], 0)
    found = ways(engine, Asked(queries, top.hits().ids), 0.95)
    recalls = [max(way.recall for way in found if way.tail == tail) for tail in (0, 200, 400)]
    assert recalls == sorted(recalls)
    assert recalls[0] < recalls[2] - 0.05
    assert chosen(found, 0.95, None).tail >= 200
