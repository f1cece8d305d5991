"""The load arrives at its own pace, and the figures are those of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts
from serve.loadtest import LoadSpec, run_load
from serve.runner import Running, start_plain
from serve.service import Service
from serve.spec import ServeSpec
from tests.serve.conftest import SMALL


@pytest.fixture(scope="module")
def running(parts: Parts) -> Iterator[Running]:
    spec = ServeSpec(funnel=SMALL, port=0)
    held = start_plain(spec, Service(Funnel(parts, SMALL), spec))
    yield held
    held.stop()


def test_requests_are_counted_and_timed(running: Running) -> None:
    seen: list[dict] = []
    load = LoadSpec(rate=100.0, requests=40, deadline_ms=5000.0)
    told = run_load(running.url, ["u1", "u2", None], load, seen.append)
    assert len(seen) == 40
    assert all(answer["items"] for answer in seen)
    assert (told["requests"], told["errors"], told["codes"]) == (40, 0, {"200": 40})
    assert 0 < told["p50_ms"] <= told["p95_ms"] <= told["p99_ms"]
    assert told["within_deadline"] == 1.0
    assert told["reached_rate"] <= 115
    assert {"queue", "rank", "total"} <= set(told["stages_p50_ms"])


def test_time_bounds_the_load(running: Running) -> None:
    told = run_load(running.url, ["u1"], LoadSpec(rate=20.0, requests=1000, seconds=0.25))
    assert told["requests"] == 5


def test_errors_are_no_answers(running: Running) -> None:
    told = run_load(running.url + "/nowhere", ["u1"], LoadSpec(rate=200.0, requests=5))
    assert (told["requests"], told["errors"], told["codes"]) == (5, 5, {"404": 5})
    assert (told["p50_ms"], told["within_deadline"]) == (None, 0.0)


def test_nobody_there_is_an_error() -> None:
    spec = LoadSpec(rate=200.0, requests=3, timeout_s=2.0)
    with pytest.raises(ConnectionError, match=r"nobody answers at http://127\.0\.0\.1:9"):
        run_load("http://127.0.0.1:9", ["u1"], spec)
    with pytest.raises(ValueError, match="users must not be empty"):
        run_load("http://127.0.0.1:9", [], spec)
    with pytest.raises(ValueError, match="rate"):
        replace(spec, rate=0.0)
