"""Plots of how good the answers are, how honest the probabilities, and how long it all takes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recsys.report.inputs import SYSTEMS, Estimate, Latency, Reliability, Serving
from recsys.report.style import COLOURS, CYCLE, GRID, INK, MUTED, SYSTEM_COLOURS, beside, figure, plain_axes

Metrics = Mapping[str, Mapping[str, Estimate]]
SLICE_SYSTEMS = ("model", "retrieval", "own_frequency", "popular")


def known(estimate: Estimate | None) -> bool:
    mean = estimate.get("mean") if estimate else None
    return mean is not None and math.isfinite(mean)


def headline(metrics: Metrics, metric: str) -> Figure:
    """One metric of every method: dots with intervals."""
    held = {system: metrics.get(system, {}).get(metric) for system in SYSTEMS}
    shown = {system: estimate for system, estimate in held.items() if estimate is not None and known(estimate)}
    drawn = figure(0.75 + 0.25 * len(shown))
    axes = plain_axes(drawn.subplots(), "x")
    for place, (system, estimate) in enumerate(shown.items()):
        _dot(axes, estimate, place, SYSTEM_COLOURS[system])
    axes.set_title(words(metric))
    axes.set_xlabel("mean over users, 95 % interval")
    axes.set_yticks(range(len(shown)), [SYSTEMS[system] for system in shown], color=INK)
    axes.set_ylim(len(shown) - 0.5, -0.6)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.1)
    return drawn


def slices(metrics: Metrics, metric: str, names: Sequence[str]) -> Figure:
    """Bars with intervals, one group a slice; names are slices, "" for everything."""
    systems = [s for s in SLICE_SYSTEMS if s in metrics]
    step = len(systems) + 0.9
    drawn = figure(0.75 + 0.15 * step * len(names))
    axes = plain_axes(drawn.subplots(), "x")
    for group, name in enumerate(names):
        for place, system in enumerate(systems):
            held = metrics[system].get(_full(metric, name))
            if held is not None and known(held):
                _bar(axes, held, group * step + place, SYSTEM_COLOURS[system])
    axes.set_yticks(
        [g * step + (len(systems) - 1) / 2 for g in range(len(names))],
        [words(n) or "all items" for n in names],
        color=INK,
    )
    axes.set_ylim(len(names) * step - 0.6, -0.8)
    axes.set_xlabel(f"{metric}, mean over users, 95 % interval")
    axes.set_xlim(0, axes.get_xlim()[1] * 1.08)
    _legend(axes, {SYSTEMS[s]: SYSTEM_COLOURS[s] for s in systems})
    return drawn


def reliability(task: str, bins: Reliability) -> Figure:
    """What a task promised against what happened."""
    drawn = figure(2.5, 2.4)
    axes = drawn.subplots()
    top = 1.08 * max(*bins["predicted"], *bins["observed"], 1e-6)
    axes.plot([0, top], [0, top], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    heaviest = max(bins["weight"]) or 1.0
    sizes = [12 + 30 * weight / heaviest for weight in bins["weight"]]
    axes.plot(bins["predicted"], bins["observed"], color=COLOURS["blue"], linewidth=1.1)
    axes.scatter(bins["predicted"], bins["observed"], sizes, color=COLOURS["blue"], zorder=3)
    axes.set_title(task)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_aspect("equal")
    axes.locator_params(nbins=4)
    axes.set_xlabel("predicted share")
    axes.set_ylabel("observed share")
    return drawn


def latency(serving: Serving) -> Figure:
    """A request cut into its stages, by their means or else their medians, and the spread of each stage."""
    stages = {name: held for name, held in serving.get("stages", {}).items() if name != "total"}
    kind = "mean_ms" if all("mean_ms" in held for held in stages.values()) else "p50_ms"
    drawn = figure(1.35 + 0.22 * len(stages))
    whole, spread = drawn.subplots(2, 1, height_ratios=[1, 0.55 + 0.36 * len(stages)])
    _stack(whole, [float(held.get(kind, 0.0)) for held in stages.values()])
    whole.set_title("mean time in each stage" if kind == "mean_ms" else "median time in each stage", pad=16)
    plain_axes(spread, "x")
    for place, (colour, held) in enumerate(zip(_colours(len(stages)), stages.values(), strict=True)):
        low = held.get("p50_ms", math.nan)
        high = held.get("p99_ms", low)
        spread.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
        spread.plot([low], [place], "o", color=colour, markersize=5.5)
        beside(spread, high, place, f"{low:.2g} to {high:.2g}" if "p99_ms" in held else f"{low:.2g}")
    spread.set_yticks(range(len(stages)), list(stages), color=INK)
    spread.set_ylim(len(stages) - 0.4, -0.6)
    spread.set_xlim(0, spread.get_xlim()[1] * 1.18)
    spread.set_title("median, and up to the 99th percentile" if _has_p99(stages) else "median")
    spread.set_xlabel("milliseconds")
    return drawn


def seconds(stages: Mapping[str, float]) -> Figure:
    """Where the run's time went."""
    drawn = figure(0.5 + 0.23 * len(stages))
    axes = plain_axes(drawn.subplots(), "x")
    axes.barh(range(len(stages)), list(stages.values()), color=COLOURS["blue"], height=0.62)
    for place, held in enumerate(stages.values()):
        beside(axes, held, place, f"{held:,.1f}")
    axes.set_yticks(range(len(stages)), list(stages), color=INK)
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.set_xlim(0, max([*stages.values(), 1e-9]) * 1.14)
    axes.set_xlabel("seconds")
    return drawn


def _dot(axes: Axes, held: Estimate, place: float, colour: str) -> None:
    mean, low, high = _ends(held)
    axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round")
    axes.plot([mean], [place], "o", color=colour, markersize=6.5)
    beside(axes, high, place, f"{mean:.3f}")


def _bar(axes: Axes, held: Estimate, place: float, colour: str) -> None:
    mean, low, high = _ends(held)
    axes.barh(place, mean, height=0.82, color=colour)
    axes.plot([low, high], [place, place], color=INK, linewidth=1.1, solid_capstyle="butt")
    beside(axes, max(high, mean), place, f"{mean:.3f}")


def _ends(held: Estimate) -> tuple[float, float, float]:
    mean = held.get("mean")
    assert mean is not None
    low, high = held.get("low"), held.get("high")
    return mean, mean if low is None else low, mean if high is None else high


def _has_p99(stages: Mapping[str, Latency]) -> bool:
    return any("p99_ms" in held for held in stages.values())


def _stack(axes: Axes, widths: Sequence[float]) -> None:
    left, total = 0.0, sum(widths)
    for colour, width in zip(_colours(len(widths)), widths, strict=True):
        axes.barh(0, width, left=left, height=0.8, color=colour, edgecolor="none")
        if width > 0.05 * total:
            at = (left + width / 2, 0.5)
            axes.annotate(f"{width:.2g}", at, ha="center", va="bottom", fontsize=8, annotation_clip=False)
        left += width
    axes.set_ylim(-0.45, 0.45)
    axes.set_yticks([])
    axes.set_xlim(0, max(total, 1e-9))
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)


def _colours(count: int) -> list[str]:
    return [(*CYCLE, MUTED)[place % (len(CYCLE) + 1)] for place in range(count)]


def _legend(axes: Axes, entries: Mapping[str, str]) -> None:
    for name, colour in entries.items():
        axes.barh(0, 0, color=colour, label=name)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        borderaxespad=0.2,
        handlelength=1,
        columnspacing=1.4,
        fontsize=8,
    )
    axes.spines["left"].set_color(GRID)


def _full(metric: str, name: str) -> str:
    return f"{metric}[{name}]" if name else metric


def words(name: str) -> str:
    """A metric's or slice's name for people: recall@20[never_bought] is recall@20, never bought."""
    return re.sub(r"[\[,] *", ", ", name.replace("_", " ")).replace("]", "")
