"""Softmax over the items of a batch in which a query may stand several times, with another right item each time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from recsys.value import require, value


@value
class InBatchSoftmax:
    """Cross entropy of each row's item against the other rows' (van den Oord et al. 2018).

    `mask` says which columns are no rivals: those of the row's own item, or also those that were clicked for the row's
    own query, which are right answers as well ("query"): in a batch of one query's clicks nothing else is left.
    `corrected` subtracts the log of how often an item is to be expected (Bengio and Senécal 2008; Yi et al. 2019).
    """

    temperature: float = 0.1
    mask: Literal["item", "query"] = "item"
    corrected: bool = False

    def __post_init__(self) -> None:
        require(self.temperature > 0, f"temperature must be positive, got {self.temperature}")

    def __call__(
        self, scores: Tensor, query: Tensor, item: Tensor, log_q: Tensor, mined: Tensor | None = None
    ) -> Tensor:
        """[B] losses of cosines [B, B], row i's item in column i; query, item [B] ids, log_q [B]; 0 without a rival.

        A query id below 0 is of a query that stands once, such as a generated one. `mined` [B, H] are cosines of rivals
        of each row's own; -inf where it has none.
        """
        own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        same = item[:, None] == item
        if self.mask == "query":
            same = same | ((query[:, None] == query) & (query[:, None] >= 0))
        logits = scores / self.temperature
        if self.corrected:
            logits = logits - log_q
        logits = logits.masked_fill(same & ~own, -torch.inf)
        if mined is not None:
            logits = torch.cat([logits, mined / self.temperature], 1)
        return -logits.log_softmax(1).diagonal()


def collisions(query: Tensor, item: Tensor) -> Tensor:
    """[B] share of a row's rivals, by item, that are other rows of the same query."""
    rival = item[:, None] != item
    same = (query[:, None] == query) & rival
    return same.sum(1) / rival.sum(1).clamp(min=1)
