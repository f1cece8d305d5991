"""Which plots a report has, given what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from recsys.report import curves, plots
from recsys.report.inputs import Estimate, ReportInput
from recsys.report.style import save_png, styled

HEADLINE = ("recall@20", "recall@20[never_bought]")
TITLES = {
    "headline": "Every method with its 95 % interval:",
    "slices": "Recall at 20 by slice with 95 % intervals",
    "losses": "Training losses and validation recall over steps",
    "norms": "Gradient norm of each task over steps",
    "cosines": "Median gradient cosine of each pair of tasks",
    "reliability": "Predicted against observed shares of task",
    "latency": "Latency of a request by stage, in milliseconds",
    "seconds": "Seconds of each stage of the run",
}


def figures(report: ReportInput) -> dict[str, Figure]:
    """The plots for which there is data, by name; headline-<metric> and reliability-<task> come once for each."""
    serving, seconds, learning = report.get("serving", {}), report.get("seconds", {}), report.get("learning", {})
    metrics = report.get("metrics", {})
    with styled():
        drawn = {
            **{f"headline-{name}": plots.headline(metrics, name) for name in headline_metrics(report)},
            "slices": _slices(report),
            "losses": curves.losses(learning),
            "norms": curves.norms(learning),
            "cosines": curves.cosines(learning),
            "latency": plots.latency(serving) if serving.get("stages") else None,
            "seconds": plots.seconds(seconds) if seconds else None,
        }
        for task, facts in report.get("tasks", {}).items():
            bins = facts.get("reliability")
            drawn[f"reliability-{task}"] = plots.reliability(task, bins) if bins and len(bins["predicted"]) else None
    return {name: figure for name, figure in drawn.items() if figure is not None}


def title(name: str) -> str:
    """What a plot shows, for those who don't see it."""
    kind, _, task = name.partition("-")
    return f"{TITLES[kind]} {task}".strip()


def save_pngs(report: ReportInput, folder: Path) -> dict[str, Path]:
    """The plots as pictures in a folder, for a tracker."""
    paths = {}
    for name, figure in figures(report).items():
        paths[name] = folder / f"{re.sub(r'[^a-z0-9@_-]+', '.', name).strip('.')}.png"
        save_png(figure, paths[name])
    return paths


def slice_names(metrics: Mapping[str, Mapping[str, Estimate]], metric: str) -> list[str]:
    """Slices in which the model has a value, "" for everything, in the order of evaluation."""
    found = []
    for name, estimate in metrics.get("model", {}).items():
        base, _, rest = name.partition("[")
        if base == metric and plots.known(estimate):
            found.append(rest.removesuffix("]"))
    return found


def headline_metrics(report: ReportInput) -> list[str]:
    """Those of HEADLINE that some method has a value for."""
    rows = report.get("metrics", {}).values()
    return [name for name in HEADLINE if any(plots.known(row.get(name)) for row in rows)]


def _slices(report: ReportInput) -> Figure | None:
    metrics = report.get("metrics", {})
    names = slice_names(metrics, "recall@20")
    return plots.slices(metrics, "recall@20", names) if len(names) > 1 else None
