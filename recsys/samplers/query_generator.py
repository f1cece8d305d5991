"""Queries that nobody typed, made of what items say of themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value

PADDING = 0


@value
class QueryGenerator:
    """A small doc2query (Nogueira et al. 2019): some words of an item's text, which then should be found by them.

    Items are drawn uniformly, lengths as in the logged queries. Words that logged queries never use, such as fillers, are
    drawn `unused` times as often as the others: what is learnt from the log is which words are used to search, and no more.
    """

    num: int = 12_000
    unused: float = 0.1

    def __post_init__(self) -> None:
        require(self.num > 0, f"num must be positive, got {self.num}")
        require(0 < self.unused <= 1, f"unused must lie in (0, 1], got {self.unused}")

    def __call__(self, items: Tensor, queries: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Words [num, L] padded with 0, and the item [num] of each; items [I, W] and queries [Q, L] are words as well.

        Raises ValueError where an item has fewer words than the longest query.
        """
        fewest, longest = int((items != PADDING).sum(1).min()), int((queries != PADDING).sum(1).max())
        require(fewest >= longest, f"an item has {fewest} words, fewer than a query of {longest}")
        generator = torch_rng(seed, "generated queries")
        item = torch.randint(len(items), (self.num,), generator=generator)
        lengths = (queries != PADDING).sum(1)
        length = lengths[torch.randint(len(lengths), (self.num,), generator=generator)]
        words = items[item]
        place = torch.multinomial(self.weights(words, queries), longest, generator=generator)
        chosen = words.gather(1, place).masked_fill(torch.arange(longest) >= length[:, None], PADDING)
        return torch.nn.functional.pad(chosen, (0, queries.shape[1] - longest)), item

    def weights(self, words: Tensor, queries: Tensor) -> Tensor:
        """Of words [*, W], in the order in which they are drawn without replacement; 0 for padding."""
        used = torch.zeros(1 + int(torch.maximum(words.max(), queries.max())), dtype=torch.bool)
        used[queries] = True
        return torch.where(used[words], 1.0, self.unused).masked_fill(words == PADDING, 0.0)
