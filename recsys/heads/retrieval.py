"""The retrieval head: queries and items as unit vectors in one space, so that an index can search it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.value import require, value

COLDEST, HOTTEST = 0.01, 1.0


@value
class RetrievalHead:
    """Cosine divided by a temperature, learnt or fixed, is the logit (Wu et al. 2018; Radford et al. 2021)."""

    dim: int = 64
    temperature: float = 0.07
    learn_temperature: bool = True

    def __post_init__(self) -> None:
        require(self.dim > 0, f"retrieval.dim must be positive, got {self.dim}")
        fits = COLDEST <= self.temperature <= HOTTEST
        require(fits, f"retrieval.temperature must lie in [{COLDEST}, {HOTTEST}], got {self.temperature}")

    def build(self, item_hidden: int, user_hidden: int) -> RetrievalModule:
        return RetrievalModule(self, item_hidden, user_hidden)


class RetrievalModule(nn.Module):
    log_temperature: Tensor

    def __init__(self, spec: RetrievalHead, item_hidden: int, user_hidden: int) -> None:
        super().__init__()
        self.of_user, self.of_item = nn.Linear(user_hidden, spec.dim), nn.Linear(item_hidden, spec.dim)
        start = torch.tensor(math.log(spec.temperature))
        if spec.learn_temperature:
            self.log_temperature = nn.Parameter(start)
        else:
            self.register_buffer("log_temperature", start)

    @property
    def temperature(self) -> Tensor:
        return self.log_temperature.float().clamp(math.log(COLDEST), math.log(HOTTEST)).exp()

    def query(self, user: Tensor) -> Tensor:
        return F.normalize(self.of_user(user).float(), dim=1)  # [B, D]

    def vectors(self, item: Tensor) -> Tensor:
        return F.normalize(self.of_item(item).float(), dim=1)  # [n, D]

    def scores(self, query: Tensor, vectors: Tensor) -> Tensor:
        """Logits of pairs, [R] of [R, D] and [R, D], in float32."""
        return (query.float() * vectors.float()).sum(1) / self.temperature
