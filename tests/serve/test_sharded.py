"""Shards on Ray Serve give what one process gives, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from ray import serve as ray_serve

from recsys.artefact import Artefact, ArtefactError
from recsys.cluster.start import ClusterSpec, connected
from recsys.index.envelope import SealedIndex
from recsys.index.sharding import search_whole, split_index
from serve.runner import Running
from serve.search import WholeIndex, create_search_app
from serve.sharded import APP, ShardedSpec, start_sharded
from tests.index.test_build import DIM, NUM_ITEMS
from tests.index.test_envelope import built
from tests.index.test_vector_index import unit
from tests.serve.test_ray import free_port

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return built(tmp_path_factory.mktemp("sharded"))


@pytest.fixture(scope="module")
def running(index: Artefact) -> Iterator[Running]:
    shards = split_index(index, 2, index.path.parent / "shards")
    spec = ShardedSpec(port=free_port(), num_cpus=0.2)
    with connected(ClusterSpec(workers=1)):
        held = start_sharded(spec, str(shards.path))
        yield held
        held.stop()


def test_shards_answer_as_one_process(running: Running, index: Artefact) -> None:
    sealed = SealedIndex.load(index)
    with TestClient(create_search_app(WholeIndex(sealed))) as alone, httpx.Client(trust_env=False) as http:
        for size, k in ((1, 10), (30, 40), (2, 1000)):
            body = {"vectors": unit(size, DIM, "users").tolist(), "k": k, "model": sealed.model}
            ours = http.post(f"{running.url}/v1/search", json=body, timeout=60)
            assert ours.status_code == 200
            assert ours.json() == alone.post("/v1/search", json=body).json()
        body = {"vectors": unit(1, DIM).tolist(), "model": "tower-bbbb"}
        refused = http.post(f"{running.url}/v1/search", json=body, timeout=60)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "version_mismatch")


def test_masks_go_to_the_shards(running: Running, index: Artefact) -> None:
    sealed, queries = SealedIndex.load(index), unit(4, DIM, "users")
    allowed = np.arange(NUM_ITEMS) % 100 == 7
    found = ray_serve.get_app_handle(APP).search.remote(queries, 30, allowed).result(timeout_s=60)
    expected = search_whole(sealed.index, queries, 30, allowed)
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.scores, expected.scores)
    assert (found.ids >= 0).sum(1).tolist() == [15] * 4


def test_shards_that_arent_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no finished index_shards"):
        start_sharded(ShardedSpec(), str(tmp_path))
