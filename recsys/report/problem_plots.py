"""The picture of a problem: its arms, its dose and response, and what the detector named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy import stats

from recsys.claims.kinds import Recovers
from recsys.claims.matrix import Matrix
from recsys.claims.problem import DOCTOR, ON, Sweep, setting_name
from recsys.claims.verdicts import Findings
from recsys.report.style import COLOURS, GRID, INK, MUTED, plain_axes

Seeds = Mapping[int, Mapping[str, float]]
DISTINCT = tuple(COLOURS[name] for name in ("blue", "orange", "green", "purple", "vermillion", "sky"))
ROW = 0.22  # inches of an arm


def interval(seeds: Seeds, metric: str) -> tuple[float, float]:
    """Mean over seeds and half of its 95 % t interval; 0 for one seed."""
    held = np.array([metrics.get(metric, np.nan) for metrics in seeds.values()])
    if len(held) < 2:
        return float(held.mean()), 0.0
    return float(held.mean()), float(stats.t.ppf(0.975, len(held) - 1) * held.std(ddof=1) / len(held) ** 0.5)


def primary(found: Findings) -> str:
    """The metric that the problem is about: that of its remedies, else of its symptom, else of its first claim."""
    claims = [claim for role, claim in found.problem.claims() if role == "remedy" and isinstance(claim, Recovers)]
    claims += [claim for role, claim in found.problem.claims() if role in ("remedy", "symptom", "guard")]
    named = [claim.metric for claim in claims if claim.arm != DOCTOR]
    return max(dict.fromkeys(named), key=named.count)


def picture(found: Findings) -> Figure:
    """Arms on top; below, what there is of sweep and matrix. 9 inches wide."""
    arms = [arm for (arm, at) in found.cells if at == ON]
    panels = [*(["sweep"] if found.sweep else []), *(["matrix"] if found.matrix.counts else [])]
    heights = [0.9 + ROW * len(arms), *([3.2] if panels else [])]
    figure = Figure(figsize=(9, sum(heights)))
    layout: Any = [["arms"] * max(1, len(panels)), *([panels] if panels else [])]
    axes = figure.subplot_mosaic(layout, height_ratios=heights)
    draw_arms(axes["arms"], found, arms)
    if "sweep" in axes:
        assert found.problem.sweep is not None
        draw_sweep(axes["sweep"], found.problem.sweep, found.sweep)
    if "matrix" in axes:
        draw_matrix(axes["matrix"], found.matrix)
    return figure


def draw_arms(axes: Axes, found: Findings, arms: Sequence[str]) -> None:
    metric = primary(found)
    plain_axes(axes, "x")
    worlds = [at for at in found.problem.world if any(w == at for _, w in found.cells)]
    for i, at in enumerate(worlds):
        for place, arm in enumerate(arms):
            seeds = found.cells.get((arm, at))
            if seeds and metric in next(iter(seeds.values())):
                mean, reach = interval(seeds, metric)
                offset = (i - (len(worlds) - 1) / 2) * 0.6 / len(worlds)
                axes.errorbar(mean, place + offset, xerr=reach, fmt="o", ms=4, color=DISTINCT[i % len(DISTINCT)])
        axes.plot([], [], "o", ms=4, color=DISTINCT[i % len(DISTINCT)], label=f'world "{at}"')
    axes.set_yticks(range(len(arms)), list(arms), color=INK)
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.set_title(f"{metric}, mean over seeds with 95 % intervals")
    axes.legend(loc="best", fontsize=8)


def draw_sweep(axes: Axes, sweep: Sweep, cells: Mapping[tuple[str, str], Seeds]) -> None:
    if len(sweep.axes) == 1:
        _dose(axes, sweep, cells)
    else:
        _phase(axes, sweep, cells)


def _dose(axes: Axes, sweep: Sweep, cells: Mapping[tuple[str, str], Seeds]) -> None:
    ((knob, values),) = sweep.axes.items()
    places = values if all(isinstance(held, (int, float)) for held in values) else range(len(values))
    for i, arm in enumerate(sweep.arms):
        held = {value: cells.get((arm, setting_name({knob: value})), {}) for value in values}
        points = [interval(seeds, sweep.metric) if seeds else (np.nan, 0.0) for seeds in held.values()]
        colour = DISTINCT[i % len(DISTINCT)]
        axes.errorbar(places, [m for m, _ in points], [r for _, r in points], marker="o", ms=3, color=colour, label=arm)
    if places is not values:
        axes.set_xticks(list(places), [str(held) for held in values])
    axes.set_xlabel(knob)
    axes.set_title(f"dose and response: {sweep.metric}")
    axes.legend(fontsize=7)


def _phase(axes: Axes, sweep: Sweep, cells: Mapping[tuple[str, str], Seeds]) -> None:
    """Which arm is best at each point; a tie, by the paired interval against the runner-up, is drawn as a tie."""
    (x_name, xs), (y_name, ys) = sweep.axes.items()
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            point = setting_name({x_name: x, y_name: y})
            held = {arm: cells[arm, point] for arm in sweep.arms if (arm, point) in cells}
            if not held:
                continue
            best, tied = winner(held, sweep.metric)
            colour = DISTINCT[sweep.arms.index(best) % len(DISTINCT)]
            axes.add_patch(_square(i, j, colour, 0.25 if tied else 0.75))
            text = f"{best}{' =' if tied else ''}\n{interval(held[best], sweep.metric)[0]:.3g}"
            axes.text(i, j, text, ha="center", va="center", fontsize=6.5, color=INK)
    axes.grid(visible=False)
    axes.set_xlim(-0.5, len(xs) - 0.5)
    axes.set_ylim(-0.5, len(ys) - 0.5)
    axes.set_xticks(range(len(xs)), [str(x) for x in xs])
    axes.set_yticks(range(len(ys)), [str(y) for y in ys])
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.set_title(f"best arm by {sweep.metric}; = ties")


def winner(cells: Mapping[str, Seeds], metric: str) -> tuple[str, bool]:
    """The arm of highest mean, and whether the paired interval of its lead over the second holds 0."""
    ranked = sorted(cells, key=lambda arm: -interval(cells[arm], metric)[0])
    if len(ranked) < 2:
        return ranked[0], False
    first, second = cells[ranked[0]], cells[ranked[1]]
    lead = {seed: {metric: first[seed][metric] - second[seed][metric]} for seed in first if seed in second}
    mean, reach = interval(lead, metric)
    return ranked[0], mean - reach <= 0


def draw_matrix(axes: Axes, matrix: Matrix) -> None:
    true = list(matrix.counts)
    said = matrix.said()
    shares = np.array([[row.get(name, 0) / sum(row.values()) for name in said] for row in matrix.counts.values()])
    axes.grid(visible=False)
    for j, i in np.ndindex(*shares.shape):
        if shares[j, i]:
            axes.add_patch(_square(i, j, COLOURS["blue"], 0.15 + 0.7 * float(shares[j, i])))
            count = matrix.counts[true[j]][said[i]]
            axes.text(i, j, str(count), ha="center", va="center", fontsize=7, color=INK)
    axes.set_xlim(-0.5, len(said) - 0.5)
    axes.set_ylim(len(true) - 0.5, -0.5)
    axes.set_xticks(range(len(said)), said, rotation=30, ha="right", fontsize=7)
    axes.set_yticks(range(len(true)), true, fontsize=7)
    axes.set_xlabel("said", color=MUTED)
    axes.set_title("what the detector said of each fault")


def _square(x: float, y: float, colour: str, alpha: float) -> Rectangle:
    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, alpha=alpha, edgecolor=GRID)
