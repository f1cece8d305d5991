"""A report is one file: it asks nothing of the network, so it can be mailed, archived and opened anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recsys.report.figures import figures, headline_metrics, slice_names, title
from recsys.report.inputs import SYSTEMS, Estimate, ReportInput
from recsys.report.plots import known, words
from recsys.report.style import inline_svg

TEMPLATE = "page.html.j2"


def render(report: ReportInput) -> str:
    """The page as HTML text; plots are inline SVG. Sections without data say so."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": number, "estimate": _estimate, "day": _day, "words": words}
    drawn = {
        name: Markup(inline_svg(held, f"plot{place}", title(name)))
        for place, (name, held) in enumerate(figures(report).items())
    }
    return environment.get_template(TEMPLATE).render(
        report={**dict.fromkeys(ReportInput.__annotations__), **report},
        plots=drawn,
        tiles=_tiles(report),
        systems={name: label for name, label in SYSTEMS.items() if name in report.get("metrics", {})},
        slices=slice_names(report.get("metrics", {}), "recall@20"),
        columns=_columns(report),
        differences=_differences(report),
        task_systems=_task_systems(report),
    )


def _tiles(report: ReportInput) -> list[tuple[str, str, str]]:
    """The few figures that a reader wants first: (what, value, interval or remark)."""
    model = report.get("metrics", {}).get("model", {})
    wanted = {"recall@20": "recall@20, all items", "recall@20[never_bought]": "recall@20, never bought"}
    tiles = [(label, *_parts(model[name])) for name, label in wanted.items() if known(model.get(name))]
    tasks = report.get("tasks", {})
    for task in [name for name in ("purchase", *tasks) if name in tasks][:1]:
        held = tasks[task].get("auc", {}).get("model")
        if held is not None and known(held):
            tiles.append((f"AUC, {task}", *_parts(held)))
    total = report.get("serving", {}).get("total", {})
    if "p50_ms" in total and "p99_ms" in total:
        tiles.append(("a request, median", f"{total['p50_ms']:.3g} ms", f"99th percentile {total['p99_ms']:.3g} ms"))
    if "items" in report.get("index", {}):
        recall = report.get("index", {}).get("recall_at_100")
        remark = "" if recall is None else f"recall@100 against exact {recall:.3f}"
        tiles.append(("items in the index", _count(report.get("index", {}).get("items")), remark))
    return tiles


def _parts(estimate: Estimate) -> tuple[str, str]:
    low, high = estimate.get("low"), estimate.get("high")
    interval = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return f"{estimate.get('mean'):.3f}", interval


def _columns(report: ReportInput) -> dict[str, str]:
    """Columns of the headline table: the headline metrics, then the others over everything; metric -> heading."""
    overall = [name for row in report.get("metrics", {}).values() for name in row if "[" not in name]
    return {name: words(name) for name in dict.fromkeys([*headline_metrics(report), *overall])}


def _differences(report: ReportInput) -> list[tuple[str, str, str, str]]:
    """(what, mean, interval, verdict): a difference is told apart from zero when its interval leaves zero out."""
    rows = []
    for name, held in report.get("differences", {}).items():
        mean, low, high = held.get("mean"), held.get("low"), held.get("high")
        if mean is not None and low is not None and high is not None:
            verdict = "above" if low > 0 else "below" if high < 0 else "open"
            rows.append((words(name), f"{mean:+.3f}", f"{low:+.3f} to {high:+.3f}", verdict))
    return rows


def _task_systems(report: ReportInput) -> list[str]:
    return list(dict.fromkeys(name for facts in report.get("tasks", {}).values() for name in facts.get("auc", {})))


def number(held: Any, digits: int = 3) -> str:
    if held is None or (isinstance(held, float) and not math.isfinite(held)):
        return "–"  # noqa: RUF001
    if isinstance(held, bool):
        return "yes" if held else "no"
    if isinstance(held, int):
        return f"{held:,}"
    if isinstance(held, float):
        return f"{held:.{digits}f}" if abs(held) < 1000 else f"{held:,.0f}"
    if isinstance(held, Mapping):
        return ", ".join(f"{name} {number(entry)}" for name, entry in held.items())
    if isinstance(held, Sequence) and not isinstance(held, str):
        return ", ".join(number(entry) for entry in held)
    return str(held)


def _estimate(held: Estimate | None) -> Markup:
    if held is None or not known(held):
        return Markup('<span class="none">–</span>')  # noqa: RUF001
    value, interval = _parts(held)
    return Markup("{}{}").format(value, Markup(' <span class="ci">{}</span>').format(interval) if interval else "")


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _count(held: Any) -> str:
    return f"{held:,}" if isinstance(held, int) else number(held)
