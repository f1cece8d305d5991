"""What is so in the world of topics and tastes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class CoarseFineTruth(Truth):
    """Chances of every pair, and the item's latent parts that a probe of an embedding could look for.

    Recall is of what was shown and clicked, so its best order is by both chances, not by the click's alone.
    """

    exposure: Tensor  # [U, I] log of how much more often the logging policy draws an item than another
    click: Tensor  # [U, I] chance of a click if shown
    like: Tensor  # [U, I] chance that a shown item turns out to be liked: what the ranking labels are drawn from
    fine: Tensor  # [I, 6] quality and style of items
    topic: Tensor  # [I]
