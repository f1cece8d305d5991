"""What is so in a world of graded lists."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class GradedTruth(Truth):
    """Of the queries that the logs check on, as users meet them."""

    grade: Tensor  # [Q, D] 0 to 4
    gain: Tensor  # [Q, D] expected 2^grade - 1, given all but the noise of a single judgement
