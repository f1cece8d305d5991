"""A retriever of searches whose words mean something before the first click, or whose log says more than was clicked."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from recsys.encoders.token_bag import TokenBagModule
from recsys.recipes.search_model import Pair, num_tokens
from recsys.recipes.search_towers import Rows, SearchTowers
from recsys.samplers.click_walk import ClickWalk
from recsys.value import value
from recsys.worlds.searches import SearchLogs


class WordVectors(Protocol):
    """Vectors [1 + V, D] of tokens, from texts of items [I, W] and whatever else it knows; zero for one unknown to it."""

    def __call__(self, texts: Tensor, num_tokens: int, dim: int, seed: int) -> Tensor: ...


@value
class PreparedTowers(SearchTowers):
    """`start` gives words of a `TokenBag` their first vectors, `walk` adds the labels that it reaches to the clicks."""

    start: WordVectors | None = None
    walk: ClickWalk | None = None

    def build(self, logs: SearchLogs, seed: int) -> Pair:
        model = SearchTowers.build(self, logs, seed)
        if self.start is not None:
            if not isinstance(model.text, TokenBagModule):
                raise ValueError(
                    f"start needs the encoder to be a TokenBag, whose words have vectors, got {self.encoder}"
                )
            model.text.start(self.start(logs.items, num_tokens(logs), self.dim, seed))
        return model

    def rows(self, logs: SearchLogs, seed: int) -> Rows:
        if self.walk is None:
            return SearchTowers.rows(self, logs, seed)
        more = torch.cat([logs.clicks, self.walk(logs.clicks, seed)])
        return SearchTowers.rows(self, replace(logs, clicks=more), seed)
