"""What only the simulator of a catalogue knows: products behind listings, aspects behind products, intents of queries."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class CatalogueTruth(Truth):
    """Gain of a listing for a query: the intent's weight of its product's aspect times the product's quality."""

    product: Tensor  # [N] int64, of each listing
    aspect: Tensor  # [P] int64, of each product
    quality: Tensor  # [P] in (0, 1]
    weight: Tensor  # [Q, A] share of each query's users that means the aspect; rows sum to 1
