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


@dataclass(frozen=True)
class CategoryTruth(Truth):
    """The category that each product really has, and what its features say of it at best."""

    leaf: Tensor  # [N] of the logged products
    new_leaf: Tensor  # [M] of the new products
    new_posterior: Tensor  # [M, C] chance of each category given a new product's features, by Bayes' rule
