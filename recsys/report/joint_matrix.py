"""The picture of every detector on every problem's evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY
from recsys.report.style import COLOURS, GRID, INK, plain_axes


class Asked(Protocol):
    """A detector (the id of its problem) on evidence of a problem with a cause put in."""

    @property
    def problem(self) -> str: ...

    @property
    def cause(self) -> str: ...

    @property
    def detector(self) -> str: ...

    @property
    def said(self) -> str: ...

    @property
    def false_alarm(self) -> bool: ...


def draw(found: Sequence[Asked]) -> Figure:
    """Rows are what was put in, columns detectors: green right, grey quiet, red a false alarm, white no evidence."""
    detectors = sorted({held.detector for held in found})
    rows = list(dict.fromkeys((held.problem, held.cause) for held in found))
    figure = Figure(figsize=(3.2 + 0.75 * len(detectors), 0.9 + 0.2 * len(rows)))
    axes = plain_axes(figure.subplots())
    for y, row in enumerate(rows):
        for x, name in enumerate(detectors):
            held = [h for h in found if (h.problem, h.cause) == row and h.detector == name]
            for i, each in enumerate(held):
                width = 0.94 / len(held)
                corner = (x - 0.47 + i * width, y - 0.44)
                axes.add_patch(Rectangle(corner, width, 0.88, facecolor=_colour(each), edgecolor="none"))
    axes.set_xlim(-0.5, len(detectors) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(detectors)), detectors, color=INK)
    axes.set_yticks(range(len(rows)), [f"{problem}: {cause.replace('_', ' ')}" for problem, cause in rows], fontsize=7)
    axes.grid(visible=False)
    axes.set_title("detectors on each other's evidence")
    return figure


def _colour(asked: Asked) -> str:
    if asked.said in asked.cause.split("|") or (asked.cause == HEALTHY and asked.said == HEALTHY):
        return COLOURS["green"]
    if asked.false_alarm or (asked.detector == asked.problem and asked.said != ABSTAIN):
        return COLOURS["vermillion"]
    return GRID
