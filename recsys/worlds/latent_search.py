"""Queries and items with latent factors; a click follows from their match, from quality and from price."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.latent import HELD_OUT, TRAIN, VALIDATION, Rendering
from recsys.worlds.truth_latent import SearchTruth
from recsys.worlds.world import Logs, Sample


@dataclass(frozen=True)
class SearchLogs(Logs):
    """A catalogue, queries, organic clicks, and what comes back when something is shown."""

    queries: Tensor  # [Q, F]
    items: Tensor  # [I, F]
    attributes: Tensor  # [I, 3] quality, price, whether it is an accessory
    listed: Tensor  # [I] bool: in the catalogue when the first retriever was built
    pairs: Tensor  # [P, 2] query and item of an organic click of a training query, oldest first
    answers: Tensor  # [Q, I] bool: clicked if shown; whoever learns may read only what its own pipeline showed
    part: Tensor  # [Q] int64: TRAIN, VALIDATION or HELD_OUT


@value
class LatentSearch:
    """P(click) = sigmoid(match cos + quality - price - penalty accessory - offset).

    `accessories` is the switch of candidate shift: that share of the items looks like another item, is hardly ever
    clicked, and came into the catalogue after the first retriever was built. What is wrong with a pipeline (scale of
    scores, stale or mixed vectors, a coarse index) is a recipe's knob: the world stays the same.
    """

    num_items: int = 3000
    num_queries: int = 1600
    factors: int = 12
    rendering: Rendering = Rendering(width=32, noise=0.2, gain=1.0, style=0.0)
    match: float = 8.0
    offset: float = 6.0
    accessories: float = 0.0
    penalty: float = 5.0
    clicks: int = 16  # organic clicks of a training query
    validation: float = 0.15
    held_out: float = 0.25

    def __post_init__(self) -> None:
        require(self.num_items >= 100, f"num_items must be at least 100, got {self.num_items}")
        require(self.num_queries >= 20, f"num_queries must be at least 20, got {self.num_queries}")
        require(0 <= self.accessories <= 0.8, f"accessories must lie in [0, 0.8], got {self.accessories}")
        require(self.validation + self.held_out < 1, "validation and held_out leave no queries to learn from")

    def sample(self, seed: int) -> Sample:
        wants, has, accessory = self._factors(seed)
        queries, items = (
            self.rendering.observed(self.rendering.clean(held * self.factors**0.5, seed, "content"), seed, name)
            for name, held in (("queries", wants), ("items", has))
        )
        worth = torch.randn(self.num_items, 2, generator=torch_rng(seed, "attributes"))
        utility = self.match * wants @ has.T + worth[:, 0] - worth[:, 1] - self.penalty * accessory - self.offset
        chance = utility.sigmoid()
        answers = torch.rand(chance.shape, generator=torch_rng(seed, "answers")) < chance
        part = self._parts(seed)
        pairs = self._pairs(chance * ~accessory, part, seed)
        attributes = torch.cat([worth, accessory[:, None].float()], dim=1)
        logs = SearchLogs(queries, items, attributes, ~accessory, pairs, answers, part)
        return Sample(logs, SearchTruth(utility))

    def _factors(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Directions of queries [Q, K] and items [I, K], and which items are accessories [I] bool."""
        wants, has = (
            F.normalize(torch.randn(num, self.factors, generator=torch_rng(seed, name, "factors")), dim=1)
            for name, num in (("queries", self.num_queries), ("items", self.num_items))
        )
        generator = torch_rng(seed, "accessories")
        order = torch.randperm(self.num_items, generator=generator)
        lookalikes, products = order.tensor_split([round(self.accessories * self.num_items)])
        has[lookalikes] = has[products[torch.randint(len(products), lookalikes.shape, generator=generator)]]
        accessory = torch.zeros(self.num_items, dtype=torch.bool).index_fill(0, lookalikes, True)
        return wants, has, accessory

    def _parts(self, seed: int) -> Tensor:
        order = torch.randperm(self.num_queries, generator=torch_rng(seed, "parts"))
        held, check = round(self.held_out * self.num_queries), round(self.validation * self.num_queries)
        part = torch.full((self.num_queries,), TRAIN)
        part[order[:held]], part[order[held : held + check]] = HELD_OUT, VALIDATION
        return part

    def _pairs(self, chance: Tensor, part: Tensor, seed: int) -> Tensor:
        """[P, 2] in random order: a query's clicks are drawn in proportion to their chances."""
        generator = torch_rng(seed, "pairs")
        train = (part == TRAIN).nonzero().squeeze(1)
        items = torch.multinomial(chance[train] + 1e-12, self.clicks, generator=generator)
        pairs = torch.stack([train.repeat_interleave(self.clicks), items.flatten()], dim=1)
        return pairs[torch.randperm(len(pairs), generator=generator)]
