"""Regression targets in units in which their errors are of the size of a cross entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from recsys.value import value


@dataclass(frozen=True, slots=True)
class Scale:
    """What was measured on training labels."""

    logarithm: bool
    mean: float
    spread: float

    def __call__(self, target: Tensor) -> Tensor:
        return ((target.log1p() if self.logarithm else target) - self.mean) / self.spread


@value
class TargetScaler:
    """The first thing to try against unequal magnitudes: nothing is learnt, and only the target's unit changes.

    "standard" subtracts the mean and divides by the standard deviation; "log1p" takes the logarithm first, which also
    stops a few very long ones from making the gradient, but answers another question (the median rather than the mean).
    """

    kind: Literal["raw", "standard", "log1p"] = "standard"

    def fit(self, target: Tensor) -> Scale:
        """The scale of targets [n], NaN left out."""
        if self.kind == "raw":
            return Scale(False, 0.0, 1.0)
        known = target[~target.isnan()]
        held = known.log1p() if self.kind == "log1p" else known
        return Scale(self.kind == "log1p", float(held.mean()), max(float(held.std()), 1e-12))
