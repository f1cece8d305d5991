"""Start the endpoint on loopback, send real requests over HTTP, and keep what came back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq

from jobs.stages import Stages
from recsys.artefact import Artefact, committing, fingerprint_of
from recsys.cluster.start import connected
from recsys.data.spec import FIRST
from serve.client import Client
from serve.loadtest import LoadSpec, run_load
from serve.runner import start

KIND = "load"
SHOWN_USERS, SHOWN_ITEMS = 4, 8
WARM_UP = LoadSpec(rate=10.0, requests=20)


def loaded(stages: Stages, index: Artefact, dataset: Artefact, spec: LoadSpec) -> Artefact:
    """run_dir/load: the load test's figures and some recommendations with their users' past."""
    fingerprint = fingerprint_of(KIND, index.fingerprint, stages.settings.serve, spec)

    def make(uri: str) -> None:
        with committing(uri, KIND, fingerprint=fingerprint, meta={}) as folder:
            (folder / "load.json").write_text(json.dumps(_serve_and_ask(stages, dataset, spec)))

    return stages.reach("load", KIND, fingerprint, make)


def _serve_and_ask(stages: Stages, dataset: Artefact, spec: LoadSpec) -> dict[str, Any]:
    settings = stages.settings
    serve = settings.serve if settings.port is None else replace(settings.serve, port=settings.port)
    people = users(dataset)
    with connected(settings.cluster):
        running = start(serve, settings.run_dir)
        stages.say("load", f"the endpoint answers at {running.url}")
        try:
            run_load(running.url, people, WARM_UP)
            figures = run_load(running.url, people, spec)
            with Client(running.url) as client:
                answers = [(user, client.recommend(user, k=SHOWN_ITEMS)) for user in people[:SHOWN_USERS]]
        finally:
            running.stop()
    return {"figures": figures, "samples": [sample(dataset, user, answer) for user, answer in answers]}


def users(dataset: Artefact) -> list[str]:
    """Ids of known users, spread over the vocabulary from the most to the least active."""
    ids = pq.read_table(dataset.path / "users.parquet", columns=["user_id"])["user_id"].to_pylist()[FIRST:]
    return ids[:: max(1, len(ids) // 200)]


def sample(dataset: Artefact, user: str, answer: dict[str, Any]) -> dict[str, Any]:
    """An answer beside the last items of its user, with texts."""
    ids = pq.read_table(dataset.path / "users.parquet", columns=["user_id"])["user_id"].to_pylist()
    place = ids.index(user)
    events = pq.read_table(dataset.path / "events.parquet", columns=["user", "item"], filters=[("user", "=", place)])
    items = pq.read_table(dataset.path / "items.parquet", columns=["item_id", "text"])
    texts = [text or name or "" for name, text in zip(*(items[c].to_pylist() for c in items.column_names), strict=True)]
    past = events["item"].to_pylist()
    known = set(items["item_id"].take(sorted(set(past))).to_pylist())
    lines = [
        {
            "item_id": line["item_id"],
            "text": line.get("text") or line["item_id"],
            "score": line["score"],
            "scores": line["scores"],
            "bought_before": line["item_id"] in known,
        }
        for line in answer["items"]
    ]
    recent = list(dict.fromkeys(reversed(past)))[:SHOWN_ITEMS]
    return {"user": user, "history": [texts[item] for item in recent], "items": lines, "source": answer["source"]}
