"""What only the simulator of a token language knows: what a query means, exactly."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class TokensTruth(Truth):
    """An item is relevant to a query by the cosine of their meanings."""

    queries: Tensor  # [H, D] norm 1, meanings of the held-out queries
    items: Tensor  # [I, D] norm 1
    ordered: Tensor  # [H] float, 1 where another order of the same tokens means something else
    rare: Tensor  # [H] float, probability of the query's rarest token in the domain
