"""Labels that nobody clicked: items that a walk along the graph of clicks reaches from a query."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value


@value
class ClickWalk:
    """A walk query, item, query, item over the bipartite graph, whose edges weigh as many clicks as they have.

    Who clicked the same item may have wanted the same; what they clicked besides becomes a label (Craswell and Szummer, 2007,
    forwards; with `rounds` growing it forgets where it began). Every click starts `per_click` walks, each over `rounds` of
    click of the same item, click of the same query. A walk may return: such a pair is the click itself, or its equal.
    """

    rounds: int = 1
    per_click: int = 1

    def __post_init__(self) -> None:
        require(self.rounds >= 1, f"rounds must be at least 1, got {self.rounds}")
        require(self.per_click >= 1, f"per_click must be at least 1, got {self.per_click}")

    def __call__(self, clicks: Tensor, seed: int) -> Tensor:
        """[C * per_click, 2] pairs of the starting query and the item reached, of clicks [C, 2] query, item."""
        generator = torch_rng(seed, "click walk")
        begin, item = clicks.repeat_interleave(self.per_click, 0).unbind(1)
        by_query, by_item = (_Grouped(column) for column in clicks.unbind(1))
        for _ in range(self.rounds):
            query = clicks[by_item.another(item, generator), 0]
            item = clicks[by_query.another(query, generator), 1]
        return torch.stack([begin, item], 1)


class _Grouped:
    """Rows by the number that they carry."""

    def __init__(self, numbers: Tensor) -> None:
        self.order, self.counts = numbers.argsort(stable=True), numbers.bincount()
        self.starts = self.counts.cumsum(0) - self.counts

    def another(self, number: Tensor, generator: torch.Generator) -> Tensor:
        """A row drawn uniformly among those that carry each number."""
        drawn = torch.rand(len(number), generator=generator, dtype=torch.float64)
        return self.order[self.starts[number] + (drawn * self.counts[number]).long()]
