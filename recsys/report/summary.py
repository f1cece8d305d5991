"""The figures of a run for a program to read: summary.json, taken from the same input as the report."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from recsys.report.inputs import SYSTEMS, Estimate, ReportInput
from recsys.value import require

METRICS = ("recall@20", "recall@20[never_bought]")
KEYS = ("data", *METRICS, "intervals", "auc", "index", "serve", "seconds", "versions")
INDEX_KEYS = ("items", "recall@100_vs_exact")
SERVE_KEYS = ("requests", "errors", "p50_ms", "p99_ms")

Summary = dict[str, Any]


def summary_of(report: ReportInput) -> Summary:
    """The summary with exactly KEYS; what wasn't measured is null. Raises ValueError for figures that can't be."""
    metrics, tasks, serving = report.get("metrics", {}), report.get("tasks", {}), report.get("serving", {})
    model_auc = {task: facts.get("auc", {}).get("model") for task, facts in tasks.items()}
    index, total = report.get("index", {}), serving.get("total", {})
    summary = {
        "data": dict(report.get("data", {}).get("counts", {})),
        **{name: {system: _mean(metrics.get(system, {}).get(name)) for system in SYSTEMS} for name in METRICS},
        "intervals": {
            **{name: _intervals({system: held.get(name) for system, held in metrics.items()}) for name in METRICS},
            "auc": _intervals(model_auc),
        },
        "auc": {task: _mean(held) for task, held in model_auc.items()},
        "index": {"items": index.get("items"), "recall@100_vs_exact": _finite(index.get("recall_at_100"))},
        "serve": {
            "requests": serving.get("requests", 0),
            "errors": serving.get("errors", 0),
            "p50_ms": _finite(total.get("p50_ms")),
            "p99_ms": _finite(total.get("p99_ms")),
        },
        "seconds": dict(report.get("seconds", {})),
        "versions": dict(report.get("versions", {})),
    }
    validate(summary)
    return summary


def validate(summary: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the key, unless the summary has exactly the keys that are promised, within range."""
    _keys("summary", summary, KEYS)
    for name in METRICS:
        _keys(name, summary[name], SYSTEMS)
        for system, held in summary[name].items():
            _share(f"{name}.{system}", held)
    for task, held in summary["auc"].items():
        _share(f"auc.{task}", held)
    _keys("index", summary["index"], INDEX_KEYS)
    _share("index.recall@100_vs_exact", summary["index"]["recall@100_vs_exact"])
    _keys("serve", summary["serve"], SERVE_KEYS)
    _intervals_hold(summary)


def to_json(summary: Summary) -> bytes:
    """The summary as a file's content: strict JSON, keys in the promised order."""
    return (json.dumps({key: summary[key] for key in KEYS}, indent=1, allow_nan=False) + "\n").encode()


def summary_text(summary: Summary) -> str:
    """The summary for a terminal."""
    lines = [_row("", ["recall@20, all items", "recall@20, never bought"])]
    for system, label in SYSTEMS.items():
        held = [_cell(summary[name][system], summary["intervals"][name].get(system)) for name in METRICS]
        lines.append(_row(label, held))
    lines.append("")
    for task, held in summary["auc"].items():
        lines.append(_row(f"AUC, {task}", [_cell(held, summary["intervals"]["auc"].get(task))]))
    index, serve = summary["index"], summary["serve"]
    recall = _cell(index["recall@100_vs_exact"], None)
    lines.append(_row("index", [f"{_plain(index['items'])} items", f"recall@100 against exact {recall}"]))
    asked = f"{serve['requests']} requests, {serve['errors']} errors"
    lines.append(_row("serving", [asked, f"p50 {_plain(serve['p50_ms'])} ms, p99 {_plain(serve['p99_ms'])} ms"]))
    if summary["seconds"]:
        spent = ", ".join(f"{stage} {held:.0f}" for stage, held in summary["seconds"].items())
        lines.append(_row("seconds", [f"{spent}; {sum(summary['seconds'].values()):.0f} in all"]))
    return "\n".join(lines)


def _keys(name: str, held: Mapping[str, Any], wanted: Iterable[str]) -> None:
    missing, extra = [k for k in wanted if k not in held], [k for k in held if k not in tuple(wanted)]
    require(not missing and not extra, f"{name}: missing keys {missing}, unknown keys {extra}")


def _share(name: str, held: float | None) -> None:
    require(held is None or 0 <= held <= 1, f"{name} must lie in [0, 1] or be null, got {held!r}")


def _intervals_hold(summary: Mapping[str, Any]) -> None:
    _keys("intervals", summary["intervals"], (*METRICS, "auc"))
    for name, held in summary["intervals"].items():
        for key, (low, high) in held.items():
            _share(f"{name}.{key}", summary[name][key])
            require(low <= high, f"intervals.{name}.{key} must rise, got {low!r} to {high!r}")


def _mean(estimate: Estimate | None) -> float | None:
    return _finite(estimate.get("mean")) if estimate else None


def _finite(held: float | None) -> float | None:
    return None if held is None or not math.isfinite(held) else float(held)


def _intervals(estimates: Mapping[str, Estimate | None]) -> dict[str, list[float]]:
    found = {}
    for name, held in estimates.items():
        low, high = (_finite(held.get("low")), _finite(held.get("high"))) if held else (None, None)
        if _mean(held) is not None and low is not None and high is not None:
            found[name] = [low, high]
    return found


def _row(head: str, cells: list[str]) -> str:
    return "  ".join([f"{head:<22}", *(f"{cell:<26}" for cell in cells)]).rstrip()


def _cell(mean: float | None, interval: list[float] | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.3f}" + (f"  ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _plain(held: float | None) -> str:
    return "-" if held is None else f"{held:,}" if isinstance(held, int) else f"{held:.1f}"
