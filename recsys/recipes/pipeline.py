"""A retriever's candidates, the ranker behind it, and how what is shown is scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from recsys.index.exact import exact_search
from recsys.recipes.towers import Bundle
from recsys.train.fit import Fitted

PLACES = 10  # shown


@dataclass(frozen=True)
class Candidates:
    """What a retriever hands on: items and the scores that it exports with them, best first."""

    items: Tensor  # [Q, C] int64
    scores: Tensor  # [Q, C]


@dataclass(frozen=True)
class Pipeline:
    """A retriever's candidates and the ranker that orders them."""

    bundle: Bundle
    stored: Tensor  # [I, D] vectors in the index, of the items that are listed
    listed: Tensor  # [I] bool
    candidates: Candidates
    ranker: Fitted
    features: Tensor  # [Q, C, F] what the ranker is given


@dataclass(frozen=True)
class Deployment:
    """Before and after; the same pipeline twice where nothing was deployed."""

    before: Pipeline
    after: Pipeline


def exact(pipe: Pipeline, rows: Tensor) -> Tensor:
    """[q, C] the exactly nearest of the listed items to the queries [Q] bool, among the stored vectors."""
    queries, width = pipe.bundle.queries[rows].numpy(), pipe.candidates.items.shape[1]
    ids = np.arange(len(pipe.stored))
    return torch.from_numpy(exact_search(pipe.stored.numpy(), ids, queries, width, pipe.listed.numpy()).ids)


def fidelity(pipe: Pipeline, rows: Tensor) -> float:
    """Share of the exactly nearest stored vectors that the index found, for the queries [Q] bool."""
    found = pipe.candidates.items[rows]
    return float((exact(pipe, rows)[:, :, None] == found[:, None]).any(2).double().mean())


@torch.no_grad()
def shown(ranker: nn.Module, features: Tensor, items: Tensor) -> Tensor:
    """[Q, PLACES] the items that the ranker puts first."""
    return items.gather(1, ranker(features).topk(PLACES).indices)


def ndcg(top: Tensor, grades: Tensor) -> Tensor:
    """[Q] NDCG of items [Q, K] by gains 2^grade - 1; the ideal is the best of the whole catalogue [Q, I]."""
    gains, discount = 2.0**grades - 1, discounts(top.shape[1])
    return (gains.gather(1, top) @ discount) / (gains.topk(top.shape[1]).values @ discount)


def clicks_found(top: Tensor, answers: Tensor) -> Tensor:
    """[Q] discounted clicks on what is shown [Q, K], out of a click on every place: no candidate set normalises it."""
    discount = discounts(top.shape[1])
    return answers.gather(1, top).float() @ discount / discount.sum()


def discounts(places: int) -> Tensor:
    return 1 / torch.arange(2, places + 2).float().log2()
