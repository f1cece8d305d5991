"""Hard negatives by the words of a query, of which nobody knows whether they are negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.evaluate.lexical import BM25
from recsys.random import torch_rng
from recsys.value import require, value

BLOCK = 1024  # queries scored at a time


@value
class LexicalNegatives:
    """`num` items from the first `depth` by BM25, without those clicked for the query (Karpukhin et al. 2020).

    Among them are right answers that nobody clicked. With `lacking` at least one of the query's words must be missing in
    the item: it shares a word and not the intent, as far as words tell.
    """

    num: int = 4
    depth: int = 30
    lacking: bool = False

    def __post_init__(self) -> None:
        require(1 <= self.num <= self.depth, f"num must lie in 1..depth, got {self.num} and {self.depth}")

    def table(self, items: Tensor, queries: Tensor, clicks: Tensor) -> Tensor:
        """[Q, depth] items for queries [Q, L], best first and -1 where there are no more; items are words [I, W].

        clicks [C, 2] are query, item. An item that has none of the query's words is no rival.
        """
        index, found = BM25().fit(items), []
        require(self.depth <= len(items), f"depth {self.depth} is above the number of items, {len(items)}")
        for start in range(0, len(queries), BLOCK):
            block = queries[start : start + BLOCK]
            scores = index(block)
            if self.lacking:
                scores = scores.masked_fill(_holds_all(items, block), -torch.inf)
            own = clicks[(clicks[:, 0] >= start) & (clicks[:, 0] < start + len(block))]
            scores[own[:, 0] - start, own[:, 1]] = -torch.inf
            best = scores.topk(self.depth, dim=1)
            found.append(best.indices.masked_fill(best.values <= 0, -1))
        return torch.cat(found)

    def __call__(self, table: Tensor, seed: int, step: int) -> Tensor:
        """[B, num] items, drawn with replacement from rows [B, depth] of the table; -1 for a row without any."""
        drawn = torch.rand(len(table), self.num, generator=torch_rng(seed, "negatives", step))
        return table.gather(1, (drawn * (table >= 0).sum(1, keepdim=True)).long())


def _holds_all(items: Tensor, queries: Tensor) -> Tensor:
    """[Q, I] bool: every word of the query stands in the item."""
    found = torch.ones(len(queries), len(items), dtype=torch.bool)
    has = torch.zeros(len(items), 1 + int(torch.maximum(items.max(), queries.max())), dtype=torch.bool)
    has.scatter_(1, items, True)
    for words in queries.unbind(1):
        found &= has[:, words].T | (words == 0)[:, None]
    return found
