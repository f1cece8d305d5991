"""How a catalogue is laid out is chosen before it is indexed: the metric, a scan or lists, and the recall wanted."""

from __future__ import annotations

from typing import Literal

from recsys.value import require, value

Metric = Literal["cosine", "inner_product", "l2"]


@value
class IndexSpec:
    """How items are laid out for search: a scan of all of them, or lists of which a query visits the nearest few."""

    kind: Literal["auto", "flat", "ivf"] = "auto"
    metric: Metric = "cosine"  # cosine takes vectors of norm 1 and nothing else
    flat_limit: int = 50_000  # auto takes lists above this many items
    lists: int | None = None  # None: about four times the square root of the number of items
    probes: int | None = None  # lists visited by a query; None: few that reach recall_target on sample queries
    recall_target: float = 0.98
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.flat_limit >= 0, f"flat_limit must be 0 or more, got {self.flat_limit}")
        require(self.lists is None or self.lists > 0, f"lists must be positive or null, got {self.lists}")
        require(self.probes is None or self.probes > 0, f"probes must be positive or null, got {self.probes}")
        require(0 < self.recall_target <= 1, f"recall_target must be in (0, 1], got {self.recall_target}")
        require(self.threads > 0, f"threads must be positive, got {self.threads}")

    def kind_for(self, num_items: int) -> Literal["flat", "ivf"]:
        if self.kind != "auto":
            return self.kind
        return "flat" if num_items <= self.flat_limit else "ivf"

    def lists_for(self, num_items: int) -> int:
        wanted = self.lists or round(4 * num_items**0.5)
        return max(1, min(wanted, num_items))
