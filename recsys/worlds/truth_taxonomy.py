"""What only the simulator of topics knows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from recsys.worlds.truth import Truth


@dataclass(frozen=True)
class TopicTruth(Truth):
    """The leaf that each post was written about, and what its words say of it at best."""

    leaf: Tensor  # [N] of the labelled posts
    new_leaf: Tensor  # [M] of the new posts
    new_posterior: Tensor  # [M, C] chance of each leaf given a new post's words, by Bayes' rule in the world itself
