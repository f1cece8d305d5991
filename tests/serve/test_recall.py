"""What the index misses can be read from /metrics, and the doctor reads the same as evidence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.data.spec import FIRST
from recsys.diagnose.files import load_evidence
from recsys.diagnose.stages import IndexAudit
from recsys.funnel.parts import Parts
from recsys.index.online_recall import RecallSpec
from recsys.index.versions import Versions
from serve.client import Client
from serve.runner import start_plain
from serve.service import load_service
from serve.spec import ServeSpec
from tests.serve.conftest import SMALL
from tests.serve.test_swap import publish


def test_metrics_and_evidence(run_dir: Path, parts: Parts, tmp_path: Path) -> None:
    versions, items = Versions(str(tmp_path / "versions")), np.arange(FIRST, parts.dataset.num_items)
    publish(versions, parts, items, "aaaa")
    spec = ServeSpec(
        funnel=SMALL,
        port=0,
        deadline_ms=None,
        index_versions=versions.root,
        index_poll_s=3600.0,
        recall=RecallSpec(share=1.0, k=10, out=str(tmp_path / "told")),
    )
    service = load_service(spec, str(run_dir))
    assert service.recall is not None
    assert service.recall.figures().queries == {}, "what warms the funnel up isn't a person's query"
    running = start_plain(spec, service)
    with Client(running.url) as client:
        for number in range(12):
            client.recommend(f"u{number}")
        client.recommend("who?")  # nobody's query reaches the index
        service.recall.close()
        text = client.metrics()
        assert 'recsys_online_recall{kind="known"} 1.0' in text  # a small shop's index is exact
        assert 'recsys_online_recall_queries{kind="known"} 12.0' in text
        assert 'recsys_found_gini{grouping="department"}' in text
        assert 'recsys_found_top_share{grouping="list"} 1.0' in text
        assert "recsys_stale_vectors_share 0.0" in text
        figures = json.loads((tmp_path / "told" / "online_recall.json").read_text())
        assert (figures["index"], figures["queries"]) == ("aaaa000000000000", {"known": 12})
        audit = load_evidence(tmp_path / "told" / "evidence").get(IndexAudit)
        assert audit.fidelity() == 1.0

        changed = parts.vectors.copy()
        changed[items[:75]] = -changed[items[:75]]
        publish(versions, replace(parts, vectors=changed), items, "bbbb")
        assert service.watch is not None
        assert service.watch.check()
        assert service.recall.figures().queries == {}, "figures are of the index that is served"
        client.recommend("u1")
    running.stop()
    figures = json.loads((tmp_path / "told" / "online_recall.json").read_text())
    assert (figures["index"], figures["queries"], figures["dropped"]) == ("bbbb000000000000", {"known": 1}, 0)
    assert figures["stale_share"] == pytest.approx(75 / len(items))
    cosines = load_evidence(tmp_path / "told" / "evidence").get(IndexAudit).cosines()
    assert cosines is not None
    assert int((cosines < 0).sum()) == 75
