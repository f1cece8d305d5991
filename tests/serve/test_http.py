"""Over HTTP people get what the funnel gives, in time or with a reason, and every refusal has its status and code."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts
from recsys.funnel.request import Recommendation, RecommendRequest
from serve.app import TOKEN
from serve.client import Client
from serve.errors import ServiceError
from serve.runner import Running, start_plain
from serve.service import Service
from serve.spec import ServeSpec
from tests.serve.conftest import SMALL

SPEC = ServeSpec(funnel=SMALL, port=0, deadline_ms=None, max_body_bytes=4096)


@pytest.fixture(scope="module")
def running(parts: Parts) -> Iterator[Running]:
    held = start_plain(SPEC, Service(Funnel(parts, SMALL), SPEC))
    yield held
    held.stop()


@pytest.fixture(scope="module")
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def started(parts: Parts) -> Iterator[Callable[..., tuple[str, Service]]]:
    """Start services of other specs; they are stopped after the test."""
    all_running: list[Running] = []

    def start(**changes: Any) -> tuple[str, Service]:
        spec = replace(SPEC, **changes)
        service = Service(Funnel(parts, SMALL), spec)
        all_running.append(start_plain(spec, service))
        return all_running[-1].url, service

    yield start
    for running in all_running:
        running.stop()


def hold(service: Service, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Make the funnel wait: the first event tells that it has begun, the second lets it go on."""
    begun, go = threading.Event(), threading.Event()
    recommend = service.funnel.recommend

    def waiting(requests: Sequence[RecommendRequest]) -> list[Recommendation]:
        begun.set()
        assert go.wait(30)
        return recommend(requests)

    monkeypatch.setattr(service.funnel, "recommend", waiting)
    return begun, go


def test_online_scores_are_offline_scores(http: httpx.Client, parts: Parts) -> None:
    funnel = Funnel(parts, SMALL)
    names = [f"u{number}" for number in range(0, 80, 7)]
    users = np.array([parts.records.directory.users[name] for name in names])
    asked = funnel.intake.of_indices(users, np.full(len(users), parts.dataset.end), 20, False)
    offline = funnel.answer(asked)
    for row, name in enumerate(names):
        answer = http.post("/v1/recommend", json={"user_id": name, "k": 20}).json()
        ids = [parts.records.directory.items[item["item_id"]] for item in answer["items"]]
        assert sorted(ids) == sorted(offline.ids[row].tolist())
        place = {item: at for at, item in enumerate(offline.ids[row].tolist())}
        for item, held in zip(ids, answer["items"], strict=True):
            assert held["score"] == pytest.approx(offline.scores[row, place[item]], abs=1e-5)
            for task, name_of_task in enumerate(funnel.intake.tasks):
                told = offline.task_scores[row, place[item], task]
                assert held["scores"][name_of_task] == pytest.approx(told, abs=1e-5)


def test_many_at_once_get_each_their_own_answer(http: httpx.Client) -> None:
    bodies = [{"user_id": f"u{number}", "k": 1 + number % 7, "hide_seen": number % 2 == 0} for number in range(40)]
    alone = [http.post("/v1/recommend", json=body).json() for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda body: http.post("/v1/recommend", json=body).json(), bodies))
    for body, one, other in zip(bodies, alone, together, strict=True):
        assert len(other["items"]) == body["k"]
        assert {item["item_id"] for item in one["items"]} == {item["item_id"] for item in other["items"]}


def test_an_answer_says_what_it_is(http: httpx.Client, parts: Parts) -> None:
    response = http.post("/v1/recommend", json={"user_id": "u1", "k": 3}, headers={"x-request-id": "mine"})
    answer = response.json()
    assert (response.status_code, response.headers["x-request-id"], answer["request_id"]) == (200, "mine", "mine")
    assert answer["versions"] == parts.versions
    assert (answer["source"], answer["degraded"]) == ("personal", [])
    stages = ["state", "query", "filter", "candidates", "features", "rank", "fuse", "diversity", "answer"]
    assert list(answer["timings_ms"]) == ["queue", *stages, "total"]
    for item in answer["items"]:
        assert set(item) == {"item_id", "score", "scores", "text"}
        assert set(item["scores"]) == {"engage", "spend"}
        assert item["text"].startswith(f"thing {item['item_id'][1:]} ")


def test_anybody_and_numbers_are_users_too(http: httpx.Client) -> None:
    for body in ({}, {"user_id": None}, {"user_id": 17}, {"user_id": "who?", "surface": "web"}):
        answer = http.post("/v1/recommend", json=body).json()
        assert (answer["source"], len(answer["items"])) == ("popular", 20)
        assert answer["items"][0]["scores"] == {}


@pytest.mark.parametrize(
    ("content", "status", "code", "told"),
    [
        (b"{", 400, "malformed_json", "EOF"),
        (b"", 400, "malformed_json", "EOF"),
        (b'{"user_id": "\xff"}', 400, "malformed_json", "unicode"),
        (b"[" * 3000, 400, "malformed_json", "recursion"),
        (b"[]", 422, "invalid_request", "body"),
        (b'{"k": 0}', 422, "invalid_request", "k: Input should be greater than or equal to 1, got 0"),
        (b'{"k": 201}', 422, "invalid_request", "k: Input should be less than or equal to 200, got 201"),
        (b'{"k": "5"}', 422, "invalid_request", "k: Input should be a valid integer, got '5'"),
        (b'{"k": true}', 422, "invalid_request", "k"),
        (b'{"kk": 5}', 422, "invalid_request", "kk: Extra inputs are not permitted, got 5"),
        (b'{"user_id": ""}', 422, "invalid_request", "user_id"),
        (b'{"user_id": ["u1"]}', 422, "invalid_request", "user_id"),
        (b'{"weights": {"engage": NaN}}', 422, "invalid_request", "weights.engage"),
        (b'{"weights": {"engage": 1e999}}', 422, "invalid_request", "weights.engage"),
        (b'{"weights": {"clicks": 1}}', 422, "unknown_task", "['clicks']; the tasks are ['engage', 'spend']"),
        (b'{"exclude": "i1"}', 422, "invalid_request", "exclude"),
        (b'{"deadline_ms": -1}', 422, "invalid_request", "deadline_ms"),
        (b'{"time": 1e300}', 422, "invalid_request", "time"),
        (
            b'{"versions": {"checkpoint": "ffff"}}',
            409,
            "version_mismatch",
            "expects checkpoint ffff, 0123456789abcdef is",
        ),
        (b'{"exclude": ["' + b"x" * 5000 + b'"]}', 413, "body_too_large", "4096 bytes"),
    ],
)
def test_refusals_have_status_code_and_remedy(
    http: httpx.Client, content: bytes, status: int, code: str, told: str
) -> None:
    response = http.post("/v1/recommend", content=content, headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert told in error["message"]
    assert set(error) == {"code", "message", "remedy"}
    assert error["remedy"]


def test_a_body_without_a_length_is_read_no_further_than_the_limit(http: httpx.Client) -> None:
    endless = (b" " * 512 for _ in range(1000))
    response = http.post("/v1/recommend", content=endless)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_unknown_routes_and_methods(http: httpx.Client) -> None:
    assert http.get("/v2/recommend").json()["error"]["code"] == "unknown_route"
    assert http.get("/v2/recommend").status_code == 404
    assert http.get("/v1/recommend").json()["error"]["code"] == "wrong_method"
    assert http.get("/v1/recommend").status_code == 405


def test_the_right_versions_are_accepted(http: httpx.Client, parts: Parts) -> None:
    assert http.post("/v1/recommend", json={"versions": parts.versions}).status_code == 200


def test_health_and_description(http: httpx.Client, parts: Parts) -> None:
    health = http.get("/healthz").json()
    assert (health["ready"], health["versions"]) == (True, parts.versions)
    assert (health["items"], health["users"], health["tasks"]) == (300, 80, ["engage", "spend"])
    operation = http.get("/openapi.json").json()["paths"]["/v1/recommend"]["post"]
    fields = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"user_id", "k", "surface", "exclude", "weights"} <= set(fields)


def test_metrics_count_what_happened(
    started: Callable[..., tuple[str, Service]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, service = started()
    with httpx.Client(base_url=url, trust_env=False) as http:
        for body in ({"user_id": "u1"}, {"user_id": "u2"}, {}, {"surface": "moon"}, {"k": -1}):
            http.post("/v1/recommend", json=body)
        http.get("/nowhere")
        monkeypatch.setattr(service.funnel, "recommend", lambda requests: 1 / 0)
        failed = http.post("/v1/recommend", json={})
        text = http.get("/metrics").text
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "internal")
    assert "ZeroDivision" not in failed.text
    for line in (
        'recsys_requests_total{code="200"} 4.0',
        'recsys_requests_total{code="422"} 1.0',
        'recsys_requests_total{code="404"} 1.0',
        'recsys_requests_total{code="500"} 1.0',
        'recsys_answers_total{source="personal"} 2.0',
        'recsys_answers_total{source="popular"} 2.0',
        'recsys_degraded_total{reason="unknown_surface"} 1.0',
        "recsys_in_flight 0.0",
        'recsys_stage_seconds_count{stage="rank"} 2.0',
        "recsys_request_seconds_count 4.0",
    ):
        assert line in text.splitlines(), line


def test_more_than_can_be_done_is_refused_at_once(
    started: Callable[..., tuple[str, Service]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, service = started(max_in_flight=2, max_batch=1)
    begun, go = hold(service, monkeypatch)
    with Client(url) as client, ThreadPoolExecutor(2) as pool:
        first = [pool.submit(client.recommend, "u1"), pool.submit(client.recommend, "u2")]
        assert begun.wait(30)
        while service.in_flight < 2:
            begun.wait(0.01)
        refused = httpx.post(f"{url}/v1/recommend", json={"user_id": "u3"}, trust_env=False)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert client.health()["ready"]  # the loop is free while the model works
        go.set()
        assert all(len(answer.result()["items"]) == 20 for answer in first)
        assert len(client.recommend("u3")["items"]) == 20


def test_an_answer_that_would_be_late_is_none(
    started: Callable[..., tuple[str, Service]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, service = started(max_batch=1)
    begun, go = hold(service, monkeypatch)
    with Client(url) as client:
        for _ in range(2):  # the first is being answered, the second waits and is never taken up
            with pytest.raises(ServiceError) as caught:
                client.recommend("u1", deadline_ms=50)
            assert (caught.value.status, caught.value.code) == (504, "deadline_exceeded")
        assert begun.is_set()
        go.set()
        assert client.recommend("u1", deadline_ms=20_000)["source"] == "personal"


def test_a_token_is_asked_for(started: Callable[..., tuple[str, Service]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "secret")
    url, _ = started()
    with Client(url, token="") as nobody, Client(url, token="wrong") as wrong, Client(url) as right:
        for client in (nobody, wrong):
            with pytest.raises(ServiceError) as caught:
                client.recommend("u1")
            assert (caught.value.status, caught.value.code) == (401, "unauthorized")
            assert client.health()["ready"]
        assert len(right.recommend("u1")["items"]) == 20


def test_answers_are_logged_as_impressions(parts: Parts, tmp_path: Path) -> None:
    spec = replace(SPEC, log_dir=str(tmp_path / "log"))
    running = start_plain(spec, Service(Funnel(parts, SMALL), spec))
    with Client(running.url) as client:
        answers = [client.recommend("u1", 5, surface="web"), client.recommend(None, 4)]
    running.stop()
    files = list((tmp_path / "log").iterdir())
    assert [file.suffix for file in files] == [".parquet"]
    table = pq.read_table(files[0]).to_pydict()
    expected = [(answer["request_id"], item["item_id"]) for answer in answers for item in answer["items"]]
    assert list(zip(table["request"], table["item"], strict=True)) == expected
    assert table["position"] == [1, 2, 3, 4, 5, 1, 2, 3, 4]
    assert table["user"] == ["u1"] * 5 + [None] * 4
    assert table["surface"] == ["web"] * 5 + [None] * 4
    assert set(table["checkpoint"]) == {parts.versions["checkpoint"]}
    assert table["source"] == ["personal"] * 5 + ["popular"] * 4


def test_a_slow_disk_costs_log_lines_and_no_answers(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(Funnel(parts, SMALL), replace(SPEC, log_dir=str(tmp_path)))
    assert service.log is not None
    monkeypatch.setattr(service.log, "put", lambda *_: False)
    running = start_plain(SPEC, service)
    with Client(running.url) as client:
        assert len(client.recommend("u1")["items"]) == 20
        assert "recsys_log_dropped_total 1.0" in client.metrics()
    running.stop()


def test_schema_of_the_answer_is_stable(http: httpx.Client) -> None:
    answer = json.loads(http.post("/v1/recommend", json={"user_id": "u1"}).content)
    assert set(answer) == {"request_id", "items", "versions", "timings_ms", "degraded", "source"}
