"""Query vectors are answered over HTTP as in the process, and those of another model are refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from recsys.index.envelope import SealedIndex
from serve.search import MAX_QUERIES, WholeIndex, create_search_app
from tests.index.test_build import DIM
from tests.index.test_envelope import built
from tests.index.test_vector_index import unit


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> SealedIndex:
    return SealedIndex.load(built(tmp_path_factory.mktemp("search")))


@pytest.fixture(scope="module")
def client(sealed: SealedIndex) -> Iterator[TestClient]:
    with TestClient(create_search_app(WholeIndex(sealed))) as held:
        yield held


def body(**changes: Any) -> dict[str, Any]:
    return {"vectors": unit(3, DIM, "users").tolist(), "k": 5, "model": "tower-aaaa", **changes}


def test_answers_are_the_index_s(client: TestClient, sealed: SealedIndex) -> None:
    answer = client.post("/v1/search", json=body()).json()
    hits = sealed.index.search(unit(3, DIM, "users"), 5)
    assert [row["ids"] for row in answer["hits"]] == hits.ids.tolist()
    assert [row["scores"] for row in answer["hits"]] == hits.scores.tolist()
    assert answer["versions"] == {"index": sealed.version, "model": "tower-aaaa", "checkpoint": "aaaa"}
    assert client.get("/healthz").json() == {"ready": True, "versions": answer["versions"], "dim": DIM}
    assert 'recsys_requests_total{code="200"}' in client.get("/metrics").text
    assert client.post("/v1/search", json=body(index=sealed.version)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"model": "tower-bbbb"}, 409, "version_mismatch"),
        ({"index": "another"}, 409, "version_mismatch"),
        ({"vectors": [[1.0] * (DIM + 1)]}, 422, "unfit_vectors"),
        ({"vectors": [[1.0] * DIM]}, 422, "unfit_vectors"),
        ({"vectors": []}, 422, "invalid_request"),
        ({"vectors": np.zeros((MAX_QUERIES + 1, 1)).tolist()}, 422, "invalid_request"),
        ({"k": 0}, 422, "invalid_request"),
        ({"more": 1}, 422, "invalid_request"),
        ({"model": None}, 422, "invalid_request"),
    ],
)
def test_refusals(client: TestClient, changes: dict[str, Any], status: int, code: str) -> None:
    response = client.post("/v1/search", json=body(**changes))
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_what_is_no_json_or_too_large(client: TestClient) -> None:
    assert client.post("/v1/search", content=b"{").json()["error"]["code"] == "malformed_json"
    assert client.post("/v1/search", content=b" " * (5 << 20)).status_code == 413


def test_a_token_is_asked_for(sealed: SealedIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TOKEN", "secret")
    with TestClient(create_search_app(WholeIndex(sealed))) as held:
        assert held.post("/v1/search", json=body()).status_code == 401
        assert held.post("/v1/search", json=body(), headers={"Authorization": "Bearer secret"}).status_code == 200


def test_fewer_items_than_wanted_are_all_there_is(client: TestClient) -> None:
    answer = client.post("/v1/search", json=body(k=1000)).json()
    assert [len(row["ids"]) for row in answer["hits"]] == [1000] * 3
