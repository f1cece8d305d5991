"""The closed set of claims. Each reads as a sentence and is a contrast of arms, paired by seed, against a bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys.value import require, value

Cells = Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]  # (arm, setting) -> seed -> metrics


@dataclass(frozen=True, slots=True)
class Contrast:
    """One number a seed, and where it must lie."""

    values: np.ndarray  # [S]
    low: float  # -inf where it may be as small as it likes
    high: float  # inf likewise
    needs: str  # the bound in words


@value
class Moves:
    """`arm` differs from `versus` by at least `by`; the sign of `by` is the direction, so latency works like recall."""

    metric: str
    arm: str
    versus: str
    by: float
    at: str = "on"
    relative: bool = False  # by is a share of versus

    def __post_init__(self) -> None:
        require(self.by != 0 or np.signbit(self.by) in (True, False), "by needs a direction")

    def __str__(self) -> str:
        unit = f"{self.by:+.0%}" if self.relative else f"{self.by:+g}"
        return f"{self.metric} of {self.arm} against {self.versus} moves by {unit} or more{_place(self.at)}"

    @property
    def down(self) -> bool:
        return bool(np.signbit(self.by))

    def contrast(self, cells: Cells) -> Contrast:
        ours, theirs = _paired(cells, self.at, self.metric, self.arm, self.versus)
        gap = ours / theirs - 1 if self.relative else ours - theirs
        bounds = (-np.inf, self.by) if self.down else (self.by, np.inf)
        return Contrast(gap, *bounds, f"{'<=' if self.down else '>='} {self.by:g}")


@value
class Keeps:
    """`arm` stays within a tolerance of `versus`: on both sides (nothing changes), or on the side that would hurt."""

    metric: str
    arm: str
    versus: str
    within: float
    at: str = "on"
    side: Literal["both", "below", "above"] = "both"  # below: it may not fall; above: it may not rise
    relative: bool = False

    def __post_init__(self) -> None:
        require(self.within > 0, f"within must be positive, got {self.within}")

    def __str__(self) -> str:
        unit = f"{self.within:.0%}" if self.relative else f"{self.within:g}"
        how = {"both": f"stays within {unit}", "below": f"falls by no more than {unit}"}
        how["above"] = f"rises by no more than {unit}"
        return f"{self.metric} of {self.arm} {how[self.side]} of {self.versus}{_place(self.at)}"

    def contrast(self, cells: Cells) -> Contrast:
        ours, theirs = _paired(cells, self.at, self.metric, self.arm, self.versus)
        gap = ours / theirs - 1 if self.relative else ours - theirs
        low = -self.within if self.side != "above" else -np.inf
        high = self.within if self.side != "below" else np.inf
        needs = {"both": f"within +-{self.within:g}", "below": f">= {-self.within:g}", "above": f"<= {self.within:g}"}
        return Contrast(gap, low, high, needs[self.side])


@value
class Reaches:
    """`arm` reaches a level by itself, such as a ceiling's recall or a detector's macro_recall (arm "doctor")."""

    metric: str
    arm: str
    at_least: float | None = None
    at_most: float | None = None
    at: str = "on"

    def __post_init__(self) -> None:
        require(self.at_least is not None or self.at_most is not None, "give at_least or at_most")

    def __str__(self) -> str:
        return f"{self.metric} of {self.arm} is {self._bound()}{_place(self.at)}"

    def _bound(self) -> str:
        if self.at_least is None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_most is None else f"in [{self.at_least:g}, {self.at_most:g}]"

    def contrast(self, cells: Cells) -> Contrast:
        (ours,) = _paired(cells, self.at, self.metric, self.arm)
        low = -np.inf if self.at_least is None else self.at_least
        return Contrast(ours, low, np.inf if self.at_most is None else self.at_most, self._bound())


@value
class Recovers:
    """`arm` wins back at least `share` of what `broken` lost against `healthy`; healthy is measured at `healthy_at`."""

    metric: str
    arm: str
    broken: str
    healthy: str
    share: float
    at: str = "on"
    healthy_at: str | None = None  # None: where the arm is

    def __str__(self) -> str:
        return (
            f"{self.metric} of {self.arm} recovers {self.share:.0%} of what {self.broken} lost against "
            f"{self.healthy}{_place(self.at)}"
        )

    def contrast(self, cells: Cells) -> Contrast:
        """(arm - broken) / mean(healthy - broken): the share, with a denominator that no single seed can blow up."""
        ours, broken = _paired(cells, self.at, self.metric, self.arm, self.broken)
        (healthy,) = _paired(cells, self.healthy_at or self.at, self.metric, self.healthy)
        require(len(healthy) == len(broken), f"{self}: {self.healthy} was measured on other seeds than {self.broken}")
        lost = float((healthy - broken).mean())
        shares = (ours - broken) / lost if lost else np.full(len(ours), np.nan)
        return Contrast(shares, self.share, np.inf, f">= {self.share:g} of the loss")


Claim = Moves | Keeps | Reaches | Recovers


def arms_of(claim: Claim) -> tuple[tuple[str, str], ...]:
    """The (arm, setting) cells that a claim is measured on."""
    if isinstance(claim, Reaches):
        return ((claim.arm, claim.at),)
    if isinstance(claim, Recovers):
        return (claim.arm, claim.at), (claim.broken, claim.at), (claim.healthy, claim.healthy_at or claim.at)
    return (claim.arm, claim.at), (claim.versus, claim.at)


def _place(at: str) -> str:
    return "" if at == "on" else f', in the world "{at}"'


def _paired(cells: Cells, at: str, metric: str, *arms: str) -> list[np.ndarray]:
    """[S] values of each arm over the seeds that all of them have; raises ValueError where there are none."""
    for arm in arms:
        require((arm, at) in cells, f'no records of arm {arm!r} in the world "{at}": run the problem first')
    seeds = sorted(set.intersection(*(set(cells[arm, at]) for arm in arms)))
    require(bool(seeds), f"arms {arms} have no seed in common")
    found = []
    for arm in arms:
        held = cells[arm, at]
        require(metric in held[seeds[0]], f"arm {arm!r} has no metric {metric!r}; it has {sorted(held[seeds[0]])}")
        found.append(np.array([held[seed][metric] for seed in seeds], dtype=np.float64))
    return found
