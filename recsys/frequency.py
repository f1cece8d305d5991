"""How often items come by in a stream, estimated without a count per item."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require

PRIME = 2**31 - 1


class StreamingFrequency:
    """The mean number of steps between two sights of an item is one over its probability per step (Yi et al. 2019).

    Items share `buckets` cells of `num_hashes` tables; a collision shortens the gap, so the longest gap counts.
    `rate` is the share of the newest gap in the running mean: larger follows a drift sooner, and is noisier.
    """

    def __init__(
        self, buckets: int, *, num_hashes: int = 2, rate: float = 0.05, initial_gap: float = 100.0, seed: int = 0
    ) -> None:
        require(buckets > 0, f"buckets must be positive, got {buckets}")
        require(0 < rate <= 1, f"rate must lie in (0, 1], got {rate}")
        self.buckets, self.rate = buckets, rate
        generator = torch_rng(seed, "streaming frequency")
        self.factors = torch.randint(1, PRIME, (num_hashes, 2), generator=generator)
        self.last = torch.zeros(num_hashes, buckets, dtype=torch.int64)
        self.gap = torch.full((num_hashes, buckets), initial_gap, dtype=torch.float64)

    def update(self, items: Tensor, step: int) -> None:
        """Note that these items [n] came by in this step (1, 2, ...), however often each."""
        for table, cells in enumerate(self._cells(items.unique())):
            touched = cells.unique()
            waited = (step - self.last[table, touched]).double()
            self.gap[table, touched] += self.rate * (waited - self.gap[table, touched])
            self.last[table, touched] = step

    def log_q(self, items: Tensor) -> Tensor:
        """Log of the probability that a step holds the item, [n] float32."""
        tables = torch.arange(self.gap.shape[0])[:, None]
        return -self.gap[tables, self._cells(items)].amax(0).clamp(min=1.0).log().float()

    def _cells(self, items: Tensor) -> Tensor:
        return (items[None] * self.factors[:, :1] + self.factors[:, 1:]) % PRIME % self.buckets  # [hashes, n]
