"""Evaluate a run: the whole funnel as served, its retrieval head alone, and four baselines, over the whole catalogue."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from jobs.data import prepared
from jobs.embed import embedded
from jobs.index import indexed
from jobs.settings import Settings, job
from jobs.stages import Stages
from jobs.train import trained
from recsys.artefact import Artefact, committing, fingerprint_of
from recsys.data.spec import FIRST, DatasetSpec
from recsys.evaluate.compare import Bootstrap
from recsys.evaluate.events import Events
from recsys.evaluate.fullrank import FullRanking, Lists, evaluate
from recsys.evaluate.heldout import HeldOut
from recsys.evaluate.rows import score_rows, task_facts
from recsys.evaluate.slices import standard
from recsys.evaluate.standard import standard_baselines
from recsys.evaluate.table import Table
from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts, Release

KIND = "evaluation"
TOP = 20


def evaluated(stages: Stages, index: Artefact) -> Artefact:
    """run_dir/evaluation: metrics.json with every method's metrics and intervals, and the ranking tasks."""
    settings = stages.settings
    fingerprint = fingerprint_of(KIND, index.fingerprint, settings.serve.funnel, settings.tune_baselines)

    def make(uri: str) -> None:
        with committing(uri, KIND, fingerprint=fingerprint, meta={}) as folder:
            (folder / "metrics.json").write_text(json.dumps(_measure(stages), allow_nan=False))

    return stages.reach("evaluation", KIND, fingerprint, make)


def _measure(stages: Stages) -> dict[str, Any]:
    settings = stages.settings
    release = Release.of(settings.run_dir)
    parts = Parts.load(release)
    funnel = Funnel(parts, settings.serve.funnel)
    spec = FullRanking(cutoffs=(TOP,))
    past, held = at_boundary(release.dataset, parts.dataset, parts.dataset.test_start, parts.dataset.end)
    stages.say("evaluation", f"{len(held.users)} users; baselines ...")
    tuning = None
    if settings.tune_baselines:
        tuning = at_boundary(release.dataset, parts.dataset, parts.dataset.validation_start, parts.dataset.test_start)
    lists, trials = standard_baselines(past, held, spec, tuning)
    stages.say("evaluation", "the funnel as served ...")
    lists = {**funnel_lists(funnel, held, parts.dataset.test_start), **lists}
    table = evaluate(lists, held, standard(held), spec)
    print(table.text(["recall@20", "recall@20[never_bought]", "ndcg@20"]), flush=True)
    rows = score_rows(parts.model, parts.hidden, parts.users, (release.dataset.path, parts.dataset), "test")
    return {
        "metrics": table.to_json(),
        "differences": differences(table),
        "tasks": _finite(task_facts(rows, parts.dataset, Bootstrap(resamples=200))),
        "trials": _finite(trials),
    }


def at_boundary(dataset: Artefact, spec: DatasetSpec, start: int, stop: int) -> tuple[Events, HeldOut]:
    """What was known at `start`, and what each user took from then to `stop`."""
    columns = pq.read_table(dataset.path / "events.parquet", columns=["user", "item", "time", "surface"])
    user, item, time, surface = (columns[name].to_numpy().astype(np.int64) for name in columns.column_names)
    inside = time < stop
    events = Events.of(user[inside], item[inside], time[inside], num_users=spec.num_users, num_items=spec.num_items)
    offered = np.ones(spec.num_items, bool)
    offered[:FIRST] = False
    future = time[inside] >= start
    past = events.before(start)
    return past, HeldOut.between(past, events.since(start), surface=surface[inside][future], offered=offered)


def funnel_lists(funnel: Funnel, held: HeldOut, moment: int) -> dict[str, Lists]:
    """The served funnel and its retrieval head alone, asked at the boundary."""
    times = np.full(len(held.users), moment)
    methods = {"model": funnel.recommend_indices, "retrieval": funnel.retrieve_only}
    return {
        name: Lists(*(torch.from_numpy(method(held.users, times, TOP, hide)) for hide in (False, True)))
        for name, method in methods.items()
    }


def differences(table: Table) -> dict[str, Any]:
    """Model minus each baseline, paired by user."""
    found = {}
    for metric in ("recall@20", "recall@20[never_bought]"):
        for other in table.methods:
            if other != "model":
                held = table.difference("model", other, metric)
                found[f"{metric} model - {other}"] = {"mean": held.mean, "low": held.low, "high": held.high}
    return _finite(found)


def _finite(held: Any) -> Any:
    if isinstance(held, dict):
        return {key: _finite(inner) for key, inner in held.items()}
    if isinstance(held, (list, tuple)):
        return [_finite(inner) for inner in held]
    return None if isinstance(held, float) and not np.isfinite(held) else held


@job
def main(settings: Settings) -> None:
    stages = Stages(settings)
    dataset = prepared(stages)
    checkpoint = trained(stages, dataset)
    evaluated(stages, indexed(stages, dataset, checkpoint, embedded(stages, dataset, checkpoint)))


if __name__ == "__main__":
    main()
