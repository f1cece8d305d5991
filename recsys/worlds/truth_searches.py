"""What only the simulator of a search log knows: which items answer a query."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class SearchesTruth(Truth):
    """An item is relevant when it has every concept that the query names, whatever the words."""

    relevant: Tensor  # [H, I] bool, of the held-out queries
    head: Tensor  # [H] bool, whether a held-out query is one of the head's; the others were never typed before
