"""Small pools with ties, empty places and several interests."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from recsys.random import torch_rng
from recsys.rerank.pool import Pool


def pool(rows: int = 5, width: int = 13, dim: int = 4, interests: int = 3, seed: int = 0) -> Pool:
    generator = torch_rng(seed, "pool")
    vectors = normalize(torch.randn(rows, width, dim, generator=generator), dim=2)
    scores = (torch.rand(rows, width, generator=generator) * 8).round() / 8
    scores[torch.rand(rows, width, generator=generator) < 0.2] = -torch.inf
    scores[-1] = -torch.inf  # a query that nothing was found for
    return Pool(
        ids=torch.arange(rows * width).view(rows, width),
        scores=scores,
        vectors=vectors,
        cells=torch.randint(4, (rows, width), generator=generator),
        source=torch.randint(interests, (rows, width), generator=generator),
        interests=normalize(torch.randn(rows, interests, dim, generator=generator), dim=2),
        shares=torch.rand(rows, interests, generator=generator).softmax(1),
    )
