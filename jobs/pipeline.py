"""All stages in order, finished ones skipped: data, train, embed, index, evaluate, load, report."""

from __future__ import annotations

import json
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from jobs.data import prepared
from jobs.embed import embedded
from jobs.evaluate import evaluated
from jobs.index import indexed
from jobs.load import loaded
from jobs.settings import Settings, job
from jobs.stages import Stages
from jobs.train import trained
from recsys.artefact import Artefact, join_uri, write_file
from recsys.cluster.start import connected
from recsys.report.figures import save_pngs
from recsys.report.html import render
from recsys.report.inputs import ReportInput, Serving
from recsys.report.summary import summary_of, summary_text, to_json
from recsys.tracking.log import read_metrics
from recsys.tracking.run import start_run
from recsys.version import VERSION
from serve.loadtest import LoadSpec

PACKAGES = ("torch", "ray", "pyarrow", "faiss-cpu", "numpy", "wandb", "hydra-core")


@job
def main(settings: Settings) -> None:
    stages = Stages(settings)
    began = time.perf_counter()
    dataset = prepared(stages)
    with connected(settings.cluster):
        checkpoint = trained(stages, dataset)
        item_vectors = embedded(stages, dataset, checkpoint)
        index = indexed(stages, dataset, checkpoint, item_vectors)
        evaluation = evaluated(stages, index)
        load = loaded(stages, index, dataset, LoadSpec()) if settings.demo or settings.load else None
    report = gathered(stages, dataset, {"index": index, "evaluation": evaluation, "checkpoint": checkpoint}, load)
    publish(stages, report)
    stages.say("done", f"in {time.perf_counter() - began:.0f} s; {join_uri(settings.run_dir, 'report.html')}")


def gathered(stages: Stages, dataset: Artefact, held: dict[str, Artefact], load: Artefact | None) -> ReportInput:
    """Everything that the report and the summary say, read from the artefacts of the run."""
    settings, index = stages.settings, held["index"]
    measured = json.loads((held["evaluation"].path / "metrics.json").read_text())
    served = json.loads((load.path / "load.json").read_text()) if load else None
    counts = dict(dataset.meta["counts"])
    spec = dataset.meta["spec"]
    report: ReportInput = {
        "title": f"{spec['name']}: {settings.run_dir.rstrip('/').rsplit('/', 1)[-1]}",
        "run": {"id": settings.identity, "machine": platform.platform(), "run_dir": settings.run_dir},
        "metrics": {name: _estimates(found) for name, found in measured["metrics"].items()},
        "differences": measured["differences"],
        "learning": read_metrics(join_uri(settings.run_dir, "metrics.jsonl"), settings.identity),
        "tasks": measured["tasks"],
        "index": {
            "kind": index.meta["kind"],
            "items": index.meta["items"],
            "dim": index.meta["dim"],
            "recall_at_100": index.meta["recall@100_vs_exact"],
        },
        "data": {
            "name": spec["name"],
            "quarantined": counts.pop("quarantined"),
            "counts": counts,
            "time_range": tuple(dataset.meta["time_range"]),
            "splits": {"validation": spec["validation_start"], "test": spec["test_start"]},
            "leak_checks": dataset.meta["leak_checks"],
        },
        "seconds": stages.seconds,
        "versions": {"recsys": VERSION, **{name: metadata.version(name) for name in PACKAGES}},
    }
    if served:
        report["serving"] = _serving(served["figures"])
        report["recommendations"] = served["samples"]
    return report


def publish(stages: Stages, report: ReportInput) -> None:
    """summary.json and report.html in the run folder, the same to W&B, and recommendations for the reader."""
    settings = stages.settings
    summary = summary_of(report)
    write_file(join_uri(settings.run_dir, "report.html"), render(report).encode())
    write_file(join_uri(settings.run_dir, "summary.json"), to_json(summary))
    folder = settings.run_dir
    with start_run(settings.tracking, job="report", run_id=settings.identity, config=settings.plain, dir=folder) as run:
        run.summary(
            {
                f"{metric}.{name}": held
                for metric in ("recall@20", "recall@20[never_bought]")
                for name, held in summary[metric].items()
            }
        )
        run.summary({f"auc.{task}": held for task, held in summary["auc"].items()})
        rows = [[m, summary["recall@20"][m], summary["recall@20[never_bought]"][m]] for m in summary["recall@20"]]
        run.table("methods", ["method", "recall@20", "recall@20[never_bought]"], rows)
        run.table("slices", ["method", "metric", "mean", "low", "high", "users"], slice_rows(report))
        with tempfile.TemporaryDirectory() as plots:
            for name, path in save_pngs(report, Path(plots)).items():
                run.image(name, path)
    for person in report.get("recommendations", []):
        print(f"\nhousehold or user {person['user']}, lately: " + "; ".join(person["history"][:3]))
        for line in person["items"]:
            print(f"  {line['score']:.3f}  {line['text']}" + ("  (bought before)" if line["bought_before"] else ""))
    print("\n" + summary_text(summary), flush=True)


def slice_rows(report: ReportInput) -> list[list[Any]]:
    """Every method's every metric of every slice, a line each."""
    return [
        [method, metric, *(held.get(part) for part in ("mean", "low", "high", "users"))]
        for method, metrics in report.get("metrics", {}).items()
        for metric, held in metrics.items()
    ]


def _estimates(found: dict[str, Any]) -> dict[str, Any]:
    return {metric: held if isinstance(held, dict) else {"mean": held} for metric, held in found.items()}


def _serving(figures: dict[str, Any]) -> Serving:
    return {
        "requests": figures["requests"],
        "errors": figures["errors"],
        "degraded": sum(figures["degraded"].values()),
        "rate_per_s": figures["rate"],
        "total": {"p50_ms": figures["p50_ms"], "p99_ms": figures["p99_ms"]},
        "stages": {stage: {"p50_ms": spent} for stage, spent in figures["stages_p50_ms"].items()},
    }


if __name__ == "__main__":
    main()
