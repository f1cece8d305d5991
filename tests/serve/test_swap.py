"""While indexes take over from each other nobody gets an error, and nobody an answer made of two."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from recsys.artefact import Artefact, committing, opened
from recsys.data.spec import FIRST
from recsys.funnel.parts import Parts, Release
from recsys.funnel.request import FunnelSpec
from recsys.index.envelope import Golden, SealedIndex
from recsys.index.vector_index import IndexSpec, VectorIndex
from recsys.index.versions import Versions
from serve import swap
from serve.runner import Running, start_plain
from serve.service import Service, load_service
from serve.spec import ServeSpec

ONLY_INDEX = FunnelSpec(index_candidates=40, popular_candidates=0, own_history=0)


def publish(versions: Versions, parts: Parts, kept: np.ndarray, name: str, **changes: str) -> None:
    """An index of some of the items, as jobs.index writes one."""
    made = Path(versions.root).with_name(f"index-{name}")
    index = VectorIndex.build(parts.vectors[kept], kept, IndexSpec())
    meta = {"checkpoint": parts.versions["checkpoint"], "model": parts.versions["model"], **changes}
    with committing(made, "index", fingerprint=name.ljust(16, "0"), meta=meta) as folder:
        index.save(folder)
        Golden.of(index, parts.vectors[:0], parts.vectors[kept]).save(folder)
    versions.publish(opened(made, "index"))


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    return Versions(str(tmp_path / "versions"))


@pytest.fixture
def served(run_dir: Path, parts: Parts, versions: Versions) -> Iterator[tuple[Running, Service]]:
    """An endpoint that follows versions, of which the first holds the even items alone; it looks when told to."""
    items = np.arange(FIRST, parts.dataset.num_items)
    publish(versions, parts, items[items % 2 == 0], "aaaa")
    spec = ServeSpec(
        funnel=ONLY_INDEX, port=0, deadline_ms=None, index_versions=versions.root, index_poll_s=3600.0, max_in_flight=99
    )
    service = load_service(spec, str(run_dir))
    running = start_plain(spec, service)
    yield running, service
    running.stop()


def test_swaps_under_load(served: tuple[Running, Service], parts: Parts, versions: Versions) -> None:
    running, service = served
    items = np.arange(FIRST, parts.dataset.num_items)
    parity = {"aaaa": 0, "bbbb": 1}
    seen: Counter[str] = Counter()

    def ask(number: int) -> None:
        response = client.post("/v1/recommend", json={"user_id": f"u{number % 80}"})
        assert response.status_code == 200
        answer = response.json()
        name = answer["versions"]["index"][:4]
        seen[name] += 1
        places = {parts.records.directory.items[item["item_id"]] % 2 for item in answer["items"]}
        assert places == {parity[name]}, "an answer's items are all of the version that it names"

    with httpx.Client(base_url=running.url, timeout=30, trust_env=False) as client, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, number) for number in range(60)]
        for turn in range(1, 6):
            name = ("aaaa", "bbbb")[turn % 2]
            publish(versions, parts, items[items % 2 == parity[name]], name)
            assert service.watch is not None
            assert service.watch.check()
            asked += [pool.submit(ask, number) for number in range(20)]
        for future in asked:
            future.result()
    assert sum(seen.values()) == 160
    assert min(seen["aaaa"], seen["bbbb"]) > 0
    assert httpx.get(f"{running.url}/healthz", trust_env=False).json()["index_version"]["held"] == versions.current()
    text = service.metrics.text().decode()
    assert "recsys_index_swaps_total 5.0" in text
    assert text.count("recsys_release{") == 1
    assert 'index="bbbb000000000000"' in text


def test_the_index_that_is_left_is_let_go(served: tuple[Running, Service], parts: Parts, versions: Versions) -> None:
    running, service = served
    old = weakref.ref(service.funnel.retriever.index)
    assert httpx.post(f"{running.url}/v1/recommend", json={"user_id": "u1"}, trust_env=False).status_code == 200
    publish(versions, parts, np.arange(FIRST, parts.dataset.num_items), "bbbb")
    assert service.watch is not None
    assert service.watch.check()
    gc.collect()
    assert old() is None


@pytest.mark.parametrize("fault", ["another model", "a damaged file", "an item of another data set"])
def test_what_doesnt_fit_is_refused_and_the_old_stays(
    served: tuple[Running, Service], parts: Parts, versions: Versions, fault: str
) -> None:
    _, service = served
    assert service.watch is not None
    held, before = service.watch.held, service.funnel
    items = np.arange(FIRST, parts.dataset.num_items)
    if fault == "an item of another data set":
        more = np.concatenate([parts.vectors, parts.vectors[-1:]])
        publish(versions, replace(parts, vectors=more), np.append(items, len(items) + FIRST), "bbbb")
    else:
        publish(versions, parts, items, "bbbb", **({"model": "ffff"} if fault == "another model" else {}))
    if fault == "a damaged file":
        target = Path(versions.uri(versions.current() or "")) / "ids.npy"
        target.write_bytes(target.read_bytes()[:-1] + b"!")
    assert not service.watch.check()
    assert not service.watch.check(), "it isn't tried again"
    assert (service.watch.held, service.watch.refused) == (held, versions.current())
    assert service.funnel is before
    assert "recsys_index_refused_total 1.0" in service.metrics.text().decode()
    publish(versions, parts, items, "cccc")
    assert service.watch.check()
    assert service.watch.refused is None


def test_a_version_that_goes_while_it_is_read_is_no_refusal(
    served: tuple[Running, Service], parts: Parts, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, service = served
    items = np.arange(FIRST, parts.dataset.num_items)
    publish(versions, parts, items, "bbbb")
    real = swap.load_index

    def late(artefact: Artefact, *told: str) -> SealedIndex:
        monkeypatch.setattr(swap, "load_index", real)
        for name in ("cccc", "dddd", "eeee"):
            publish(versions, parts, items, name)
        return real(artefact, *told)

    monkeypatch.setattr(swap, "load_index", late)
    assert service.watch is not None
    assert not service.watch.check()
    assert service.watch.refused is None
    assert service.watch.check()
    assert service.funnel.versions["index"] == "eeee000000000000"


def test_a_version_that_was_expected_and_left_is_a_conflict(
    served: tuple[Running, Service], parts: Parts, versions: Versions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The swap comes between the check of the request and its answer."""
    running, service = served
    publish(versions, parts, np.arange(FIRST, parts.dataset.num_items), "bbbb")
    submit = service.worker.submit

    def late(*told: object) -> object:
        assert service.watch is not None
        service.watch.check()
        return submit(*told)  # type: ignore[arg-type]

    body = {"user_id": "u1", "versions": {"index": service.funnel.versions["index"]}}
    monkeypatch.setattr(service.worker, "submit", late)
    response = httpx.post(f"{running.url}/v1/recommend", json=body, trust_env=False)
    assert (response.status_code, response.json()["error"]["code"]) == (409, "version_mismatch")


def test_the_version_that_is_current_is_served_from_the_start(run_dir: Path, parts: Parts, versions: Versions) -> None:
    items = np.arange(FIRST, parts.dataset.num_items)
    publish(versions, parts, items, "aaaa")
    publish(versions, parts, items, "bbbb", model="ffff")
    with pytest.raises(ValueError, match="was made by model ffff"):
        load_service(ServeSpec(index_versions=versions.root), str(run_dir))
    versions.rollback()
    assert Parts.load(Release.of(run_dir, versions.open()[1])).versions["index"] == "aaaa000000000000"
