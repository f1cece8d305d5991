"""Behind Ray Serve people get the same answers and the same refusals, on loopback alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from recsys.cluster.start import ClusterSpec, connected
from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts
from serve.client import Client
from serve.errors import ServiceError
from serve.loadtest import LoadSpec, run_load
from serve.runner import Running, start
from serve.spec import ServeSpec
from tests.serve.conftest import SMALL

pytestmark = pytest.mark.ray


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def address_of_the_way_out() -> str:
    """The address that packets to elsewhere would bear; sends nothing. Loopback when there is no way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
    return "127.0.0.1"


@pytest.fixture(scope="module")
def running(run_dir: Path) -> Iterator[Running]:
    # no deadline: on a crowded machine it would decide what is answered
    spec = ServeSpec(funnel=SMALL, port=free_port(), num_cpus=0.1, max_body_bytes=4096, deadline_ms=None)
    with connected(ClusterSpec(workers=1)):
        held = start(spec, str(run_dir))
        yield held
        held.stop()


def test_scores_behind_ray_are_offline_scores(running: Running, parts: Parts) -> None:
    funnel = Funnel(parts, SMALL)
    names = ["u1", "u5", "u42"]
    users = np.array([parts.records.directory.users[name] for name in names])
    offline = funnel.answer(funnel.intake.of_indices(users, np.full(3, parts.dataset.end), 10, False))
    with Client(running.url) as client:
        assert client.health()["versions"] == parts.versions
        for row, name in enumerate(names):
            items = client.recommend(name, 10)["items"]
            told = {parts.records.directory.items[item["item_id"]]: item["score"] for item in items}
            held = dict(zip(offline.ids[row].tolist(), offline.scores[row].tolist(), strict=True))
            assert told == pytest.approx(held, abs=1e-5)
        assert "recsys_requests_total" in client.metrics()


def test_refusals_come_through(running: Running) -> None:
    expected = {
        b"{": (400, "malformed_json"),
        b'{"k": 0}': (422, "invalid_request"),
        b" " * 5000: (413, "body_too_large"),
    }
    for content, (status, code) in expected.items():
        response = httpx.post(f"{running.url}/v1/recommend", content=content, trust_env=False)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    missing = httpx.get(f"{running.url}/nowhere", trust_env=False)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_route")
    with Client(running.url) as client, pytest.raises(ServiceError) as caught:
        client.recommend("u1", versions={"checkpoint": "ffff"})
    assert caught.value.status == 409


def test_a_load_is_answered(running: Running) -> None:
    told = run_load(running.url, ["u1", "u2", None], LoadSpec(rate=20.0, requests=20, timeout_s=30.0))
    assert (told["requests"], told["errors"]) == (20, 0)


def test_only_this_machine_can_ask(running: Running) -> None:
    port = int(running.url.rsplit(":", 1)[1])
    outside = address_of_the_way_out()
    if outside.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    with pytest.raises(OSError), socket.create_connection((outside, port), timeout=5):
        pass
