"""Plots of how training went: losses, validation, and what the tasks want of the encoders that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recsys.report.style import COLOURS, CYCLE, INK, MUTED, beside, figure, label_ends

FEW = 25
Series = Mapping[str, Any]  # "step" and numbers, arrays of one length
Learning = Mapping[str, Series]  # by kind: train, validation, gradient


def losses(learning: Learning) -> Figure | None:
    """One panel for each loss and each validation metric."""
    train, validation = learning.get("train", {}), learning.get("validation", {})
    panels = [(train, name, COLOURS["blue"]) for name in train if name.startswith("loss.")]
    panels += [(validation, name, COLOURS["vermillion"]) for name in validation if "@" in name]
    if not panels:
        return None
    columns = 2 if len(panels) > 1 else 1
    rows = math.ceil(len(panels) / columns)
    drawn = figure(0.2 + 1.3 * rows)
    grid = drawn.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (series, name, colour) in zip(grid, panels, strict=False):
        _curve(axes, series, name, colour)
        axes.set_title(f"{name.removeprefix('loss.')} loss" if name.startswith("loss.") else f"validation {name}")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)
    return drawn


def norms(learning: Learning) -> Figure | None:
    """How hard each task pulls at the shared encoders."""
    series = learning.get("gradient", {})
    names = [name for name in series if name.startswith("norm.")]
    if not names:
        return None
    drawn = figure(2.3)
    axes = drawn.subplots()
    ends = {}
    for name, colour in zip(names, CYCLE * 3, strict=False):
        step, held = _finite(series, name)
        if len(step):
            ends[name.removeprefix("norm.")] = (_line(axes, step, held, colour), colour)
    axes.set_ylim(0, None)
    axes.margins(x=0.01)
    label_ends(axes, ends, float(np.max(series["step"])))
    axes.set_ylabel("norm of the task's gradient")
    axes.set_xlabel("step")
    return drawn


def cosines(learning: Learning) -> Figure | None:
    """Which tasks agree: the median cosine of every pair's gradients over the second half of training."""
    series = learning.get("gradient", {})
    pairs = {name: name.split(".")[1:] for name in series if name.startswith("cosine.")}
    if not pairs:
        return None
    tasks = list(dict.fromkeys(task for pair in pairs.values() for task in pair))
    drawn = figure(0.5 + 0.34 * len(tasks))
    axes = drawn.subplots()
    for name, (a, b) in pairs.items():
        _, held = _finite(series, name)
        if len(held):
            _cell(axes, sorted((tasks.index(a), tasks.index(b))), float(np.median(held[len(held) // 2 :])))
    axes.set_xlim(-0.5, len(tasks) - 1.5)
    axes.set_ylim(len(tasks) - 0.5, 0.5)
    axes.set_xticks(range(len(tasks) - 1), tasks[:-1], color=INK)
    axes.set_yticks(range(1, len(tasks)), tasks[1:], color=INK)
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return drawn


def smoothed(held: np.ndarray, share: float = 0.08) -> np.ndarray:
    """Moving average over a share of the points, centred where there are enough on both sides."""
    half = round(len(held) * share / 2)
    total = np.concatenate([[0.0], np.cumsum(held, dtype=np.float64)])
    place = np.arange(len(held))
    start, stop = np.maximum(place - half, 0), np.minimum(place + half + 1, len(held))
    return (total[stop] - total[start]) / (stop - start)


def _curve(axes: Axes, series: Series, name: str, colour: str) -> None:
    step, held = _finite(series, name)
    last = _line(axes, step, held, colour)
    attempt = np.asarray(series.get("attempt", np.ones(len(series["step"]))))
    for restart in np.flatnonzero(np.diff(attempt)) + 1:
        axes.axvline(float(series["step"][restart]), color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    if len(held):
        beside(axes, float(step[-1]), last, f"{last:.3g}")
        axes.margins(x=0.01)
    axes.locator_params(axis="y", nbins=4)


def _line(axes: Axes, step: np.ndarray, held: np.ndarray, colour: str) -> float:
    """Few points as they are, many smoothed over a faint trace of themselves; where the line ends."""
    if len(step) <= FEW:
        axes.plot(step, held, color=colour, marker="o", markersize=3.5)
        return float(held[-1]) if len(held) else math.nan
    axes.plot(step, held, color=colour, alpha=0.3, linewidth=0.8)
    axes.plot(step, smoothed(held), color=colour)
    return float(smoothed(held)[-1])


def _cell(axes: Axes, place: list[int], cosine: float) -> None:
    column, row = place
    colour = COLOURS["blue"] if cosine >= 0 else COLOURS["vermillion"]
    axes.bar(column, 0.94, bottom=row - 0.47, width=0.97, color=colour, alpha=min(1.0, 0.08 + 0.8 * abs(cosine)))
    axes.annotate(f"{round(cosine, 2) + 0.0:+.2f}", (column, row), ha="center", va="center", fontsize=8.5)


def _finite(series: Series, name: str) -> tuple[np.ndarray, np.ndarray]:
    step, held = np.asarray(series["step"]), np.asarray(series[name], dtype=np.float64)
    kept = np.isfinite(held)
    return step[kept], held[kept]
