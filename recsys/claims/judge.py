"""A verdict has three values: the interval clears the bound, misses it, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from recsys.claims.kinds import Cells, Claim, Contrast

LEVEL = 0.95
Outcome = Literal["holds", "refuted", "open", "not reproduced"]
NOT_REPRODUCED: Outcome = "not reproduced"
Role = Literal["symptom", "diagnosis", "remedy", "guard", "control"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim beside its measurement."""

    role: Role
    text: str
    measured: float
    low: float
    high: float
    needs: str
    verdict: Outcome
    seeds: int

    def to_json(self) -> dict[str, Any]:
        return {
            key: None if isinstance(held, float) and not np.isfinite(held) else held
            for key, held in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """Mean and t interval over seeds, and the chance of so clear a result were the claim just false."""

    mean: float
    low: float
    high: float
    p: float

    @classmethod
    def of(cls, contrast: Contrast) -> Measured:
        """Intervals of Student's t over paired seeds (Student, 1908); p of the nearer bound, one-sided."""
        held = contrast.values
        if len(held) < 2 or not np.isfinite(held).all():
            mean = float(held.mean()) if len(held) else float("nan")
            return cls(mean, float("-inf"), float("inf"), 1.0)
        mean, error, df = float(held.mean()), float(held.std(ddof=1) / len(held) ** 0.5), len(held) - 1
        reach = error * float(stats.t.ppf(0.5 + LEVEL / 2, df))
        slack = min(mean - contrast.low, contrast.high - mean)
        p = float(stats.t.sf(slack / error, df)) if error > 0 else float(slack < 0)
        return cls(mean, mean - reach, mean + reach, p)


def decide(measured: Measured, contrast: Contrast, p: float) -> Outcome:
    """holds: p (adjusted) clears the level. refuted: the whole interval lies outside the bounds. open: neither."""
    if p <= (1 - LEVEL) / 2:
        return "holds"
    missed = measured.high < contrast.low or measured.low > contrast.high
    return "refuted" if missed else "open"


def judge(claims: Sequence[tuple[Role, Claim]], cells: Cells) -> list[Verdict]:
    """Verdicts in the order of the claims. Holm (1979) over the remedies; none of them counts without a symptom.

    A remedy of something that wasn't there is "not reproduced", whatever it measured.
    """
    contrasts = [claim.contrast(cells) for _, claim in claims]
    measured = [Measured.of(contrast) for contrast in contrasts]
    remedies = [i for i, (role, _) in enumerate(claims) if role == "remedy"]
    p = {i: held.p for i, held in enumerate(measured)}
    p |= dict(zip(remedies, holm([measured[i].p for i in remedies]), strict=True))
    outcomes: list[Outcome] = [decide(measured[i], contrasts[i], p[i]) for i in range(len(claims))]
    present = all(outcome == "holds" for (role, _), outcome in zip(claims, outcomes, strict=True) if role == "symptom")
    return [
        Verdict(
            role=role,
            text=str(claim),
            measured=held.mean,
            low=held.low,
            high=held.high,
            needs=contrast.needs,
            verdict=outcome if present or role != "remedy" else NOT_REPRODUCED,
            seeds=len(contrast.values),
        )
        for (role, claim), held, contrast, outcome in zip(claims, measured, contrasts, outcomes, strict=True)
    ]


def holm(p: Sequence[float]) -> list[float]:
    """P values adjusted for the number of claims made at once (Holm, 1979)."""
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted
