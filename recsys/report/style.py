"""One look for every plot: colours that the colour-blind can tell apart, and that follow the page into the dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito (2008), slightly darkened for thin lines on white; in the page each is a CSS variable
INK, MUTED, GRID = "#1c2024", "#6a7078", "#dcdfe3"
COLOURS = {
    "blue": "#0069b4",
    "sky": "#3f9bd8",
    "orange": "#d98a00",
    "vermillion": "#c8500a",
    "green": "#00885f",
    "purple": "#b35f92",
}
CYCLE = tuple(COLOURS.values())
SYSTEM_COLOURS = {
    "model": COLOURS["blue"],
    "retrieval": COLOURS["sky"],
    "popular": COLOURS["orange"],
    "own_frequency": COLOURS["vermillion"],
    "item_item": COLOURS["green"],
    "ease": COLOURS["purple"],
}
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {held: f"--{name}" for name, held in COLOURS.items()}
WIDTH = 4.7  # inches of 72 points: about a phone's width, and half a page's

RC: dict[Any, Any] = {
    "font.size": 9,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=CYCLE),
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "recsys",
}


@contextmanager
def styled() -> Iterator[None]:
    """Figures built inside have the look."""
    with matplotlib.rc_context(RC):
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """A figure of its own, without pyplot's global state."""
    return Figure(figsize=(width, height))


def plain_axes(axes: Axes, grid: str = "y") -> Axes:
    """Grid lines along one axis only."""
    axes.grid(visible=False)
    axes.grid(visible=True, axis=grid)  # type: ignore[arg-type]
    return axes


def beside(axes: Axes, x: float, y: float, text: str, colour: str = INK) -> None:
    """Write a text right of a point."""
    axes.annotate(
        text,
        (x, y),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=colour,
        annotation_clip=False,
    )


def label_ends(axes: Axes, ends: dict[str, tuple[float, str]], x: float) -> None:
    """Write names at the right ends of lines, apart from each other; ends: name -> (y, colour)."""
    low, high = axes.get_ylim()
    names = sorted(ends, key=lambda name: ends[name][0])
    for name, y in zip(names, _apart([ends[name][0] for name in names], (high - low) * 0.07), strict=True):
        beside(axes, x, y, name, ends[name][1])


def _apart(places: list[float], gap: float, rounds: int = 200) -> list[float]:
    """Rising places pushed away from each other, half a way each, until they are about a gap apart."""
    for _ in range(rounds):
        for i in range(len(places) - 1):
            lacking = gap - (places[i + 1] - places[i])
            if lacking > 0:
                places[i], places[i + 1] = places[i] - lacking / 2, places[i + 1] + lacking / 2
    return places


def save_png(drawn: Figure, path: Path) -> None:
    """The plot as a picture, for trackers that show no SVG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with styled():
        drawn.savefig(path, dpi=150, facecolor="white")


def inline_svg(drawn: Figure, name: str, description: str) -> str:
    """The plot as an SVG element for a page: its text is text, its colours are the page's, its ids its own."""
    buffer = StringIO()
    with styled():
        drawn.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    body = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    return f'<svg class="plot" role="img" aria-label="{description}" {box.group()} xmlns:xlink="http://www.w3.org/1999/xlink">{body}'
