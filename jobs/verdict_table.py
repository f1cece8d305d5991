"""A problem's findings as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.claims.problem import ON
from recsys.claims.verdicts import Findings

FAIRNESS = ("parameters", "steps", "validation", "unsettled")


def told(id: str, found: Findings) -> str:
    """Arms, claims with verdicts, and what the detector named."""
    parts = [f"\n{id}: {found.problem.title}", _arms(found), _claims(found), _matrix(found)]
    return "\n\n".join(part for part in parts if part)


def _arms(found: Findings) -> str:
    metrics = shown_metrics(found)
    rows = []
    for (arm, at), seeds in found.cells.items():
        means = [np.mean([held.get(metric, np.nan) for held in seeds.values()]) for metric in metrics]
        rows.append([arm, at, *(f"{mean:.4g}" for mean in means), f"{found.seconds[arm]:.1f}"])
    return aligned(["arm", "world", *metrics, "CPU s"], rows)


def shown_metrics(found: Findings) -> list[str]:
    """Metrics that a claim names, in the order of the claims."""
    named = [claim.metric for _, claim in found.problem.claims() if claim.arm != "doctor"]
    have = {metric for (_, at), seeds in found.cells.items() if at == ON for held in seeds.values() for metric in held}
    return [metric for metric in dict.fromkeys(named) if metric in have] or sorted(have - set(FAIRNESS))


def _claims(found: Findings) -> str:
    rows = [
        [v.role, v.text, f"{v.measured:+.4f}", f"[{v.low:+.4f}, {v.high:+.4f}]", v.needs, v.verdict]
        for v in found.verdicts
    ]
    return aligned(["role", "claim", "measured", "95 %", "needs", "verdict"], rows)


def _matrix(found: Findings) -> str:
    matrix = found.matrix
    if not matrix.counts:
        return ""
    said = sorted({name for row in matrix.counts.values() for name in row})
    rows = [[true, *(str(row.get(name, 0)) for name in said)] for true, row in matrix.counts.items()]
    head = f"detector: macro recall {matrix.macro_recall:.3f}, false alarm {matrix.false_alarm:.3f}\n"
    return head + aligned(["true \\ said", *said], rows)


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[c]) for row in (head, *rows)) for c in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
