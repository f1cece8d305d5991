"""What is so in the world of click, like and dwell."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class SeesawTruth(Truth):
    """Of the test rows: probabilities of click and like, expected seconds of dwell, and how much the tasks have in common."""

    click: Tensor  # [M]
    like: Tensor  # [M]
    dwell: Tensor  # [M]
    correlation: Tensor  # [T, T] of the tasks' utilities over the test rows
