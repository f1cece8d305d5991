"""Two towers that share their words, and what a search log says of judged queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from recsys.data.spec import FIRST
from recsys.encoders.ids import HashedIdsModule
from recsys.encoders.query import TextModule
from recsys.worlds.searches import SearchLogs


class Pair(nn.Module):
    """One encoder of words for both sides; ids, where there are any, add to either. `titles`: items have words at all."""

    def __init__(
        self, text: TextModule, query_ids: HashedIdsModule | None, item_ids: HashedIdsModule | None, titles: bool = True
    ) -> None:
        super().__init__()
        self.text, self.query_ids, self.item_ids, self.titles = text, query_ids, item_ids, titles

    def query(self, words: Tensor, ids: Tensor) -> Tensor:
        """[B, D] norm 1 of words [B, L] and ids [B]."""
        return _with(self.text, self.query_ids, words, ids)

    def item(self, words: Tensor, ids: Tensor) -> Tensor:
        if not self.titles:
            assert self.item_ids is not None
            return normalize(self.item_ids(ids), dim=1)
        return _with(self.text, self.item_ids, words, ids)

    def forward(self, words: Tensor, ids: Tensor, titles: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return self.query(words, ids), self.item(titles, items)


def _with(text: TextModule, ids: HashedIdsModule | None, words: Tensor, which: Tensor) -> Tensor:
    held = text.summed(words)
    return normalize(held if ids is None else held + ids(which), dim=1)


@torch.no_grad()
def dense(model: Pair, logs: SearchLogs, words: Tensor, ids: Tensor) -> Tensor:
    """[Q, I] cosines of queries and all items."""
    return model.query(words, ids) @ model.item(logs.items, torch.arange(len(logs.items)) + FIRST).T


def num_tokens(logs: SearchLogs) -> int:
    return int(max(held.max() for held in (logs.items, logs.queries, logs.judged, logs.held_out)))


def judgements(logs: SearchLogs) -> Tensor:
    """[J, I] bool: found relevant by the judges."""
    found = torch.zeros(len(logs.judged), len(logs.items), dtype=torch.bool)
    found[logs.judgements[:, 0], logs.judgements[:, 1]] = True
    return found


def typed_times(logs: SearchLogs, ids: Tensor) -> Tensor:
    """[Q] how often the log holds each query, 0 for one that it doesn't know."""
    counts = logs.clicks[:, 0].bincount(minlength=len(logs.queries))
    return torch.where(ids >= FIRST, counts[(ids - FIRST).clamp(min=0)], 0)
