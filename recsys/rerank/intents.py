"""Lists that answer what a query's users mean, each meaning by its share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from recsys.rerank.pool import Pool
from recsys.value import require, value


@value
class Shares:
    """Places are dealt to the interests like seats to parties (Sainte-Laguë, 1910), each place to an interest's best.

    "clicks" deals by the interests' shares, which calibrates the list (Steck, 2018); "equal" takes turns, which is what
    merging the lists of several heads without weights comes to.
    """

    by: Literal["clicks", "equal"] = "clicks"

    def __call__(self, pool: Pool, k: int) -> Tensor:
        shares = pool.shares if self.by == "clicks" else torch.ones_like(pool.shares)
        rows, taken = torch.arange(len(shares)), torch.zeros_like(shares)
        owned = pool.source[:, None] == torch.arange(shares.shape[1])[:, None]  # [B, M, N]
        left = torch.where(owned, pool.scores[:, None], -torch.inf)
        found = []
        for _ in range(k):
            claim = (shares / (2 * taken + 1)).masked_fill(left.amax(2) == -torch.inf, -torch.inf)
            most, interest = claim.max(1)
            place = left[rows, interest].argmax(1)
            found.append(place.masked_fill(most == -torch.inf, -1))
            left[rows, :, place] = -torch.inf
            taken[rows, interest] += 1
        return torch.stack(found, 1)

    def multiply_adds(self, pool: Pool, k: int) -> float:
        return 0.0


@value
class XQuad:
    """The next item is worth its relevance and what it adds for users whom no item before it answered (Santos, 2010).

    (1 - lam) r(d) + lam sum over interests i of share(i) p(d, i) prod over chosen c of (1 - p(c, i)), with r in [0, 1]
    within the list. p(d, i) is the softmax over interests of cosines by `temperature`, times the cosine's own size.
    """

    lam: float = 0.7
    temperature: float = 0.1

    def __post_init__(self) -> None:
        require(0 <= self.lam <= 1, f"lam must lie in [0, 1], got {self.lam}")

    def __call__(self, pool: Pool, k: int) -> Tensor:
        low = pool.scores.masked_fill(~pool.valid, torch.inf).amin(1, keepdim=True)
        span = (pool.scores.amax(1, keepdim=True) - low).clamp(min=1e-9)
        worth = (1 - self.lam) * (pool.scores - low) / span  # -inf where empty
        cosine = pool.interests @ pool.vectors.transpose(1, 2)  # [B, M, N]
        answers = (cosine / self.temperature).softmax(1) * cosine.clamp(0, 1)
        unmet, rows, found = pool.shares.clone(), torch.arange(len(worth)), []
        for _ in range(k):
            gain = worth + self.lam * (unmet[..., None] * answers).sum(1)
            most, place = gain.max(1)
            found.append(place.masked_fill(most == -torch.inf, -1))
            unmet = unmet * (1 - answers[rows, :, place])
            worth[rows, place] = -torch.inf
        return torch.stack(found, 1)

    def multiply_adds(self, pool: Pool, k: int) -> float:
        _, num, dim = pool.vectors.shape
        return float(pool.shares.shape[1] * num * (dim + k))
