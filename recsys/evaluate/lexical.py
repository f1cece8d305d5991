"""What is found by the words alone: the baseline that a dense retriever must not lose to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.value import require, value

PADDING = 0


@value
class BM25:
    """Words in common, rare ones for more (Robertson & Zaragoza, 2009), with idf ln(1 + (N - n + 0.5) / (n + 0.5))."""

    k1: float = 1.2
    b: float = 0.75

    def __post_init__(self) -> None:
        require(self.k1 >= 0, f"k1 must be 0 or more, got {self.k1}")
        require(0 <= self.b <= 1, f"b must lie in [0, 1], got {self.b}")

    def fit(self, texts: Tensor) -> BM25Index:
        """An index of texts [I, W] of tokens from 1 on, padded with 0."""
        there, width = texts != PADDING, 1 + int(texts.max())
        length = there.sum(1).double()
        item = there.nonzero()[:, 0].numpy()
        counts = sp.csr_array((np.ones(len(item)), (item, texts[there].numpy())), shape=(len(texts), width))
        counts.sum_duplicates()
        holders = np.bincount(counts.indices, minlength=width)
        idf = np.log1p((len(texts) - holders + 0.5) / (holders + 0.5))
        norm = (self.k1 * (1 - self.b + self.b * length / length.mean().clamp(min=1e-12))).numpy()
        counts.data = (
            idf[counts.indices] * counts.data * (self.k1 + 1) / (counts.data + np.repeat(norm, np.diff(counts.indptr)))
        )
        return BM25Index(counts.T.tocsr())


@dataclass(frozen=True, slots=True)
class BM25Index:
    """What each token is worth in each text."""

    weight: Any  # [V, I] scipy.sparse.csr_array

    def __call__(self, queries: Tensor) -> Tensor:
        """[Q, I] float32 scores of queries [Q, L]; tokens that no text has say nothing."""
        size = self.weight.shape[0]
        known = (queries != PADDING) & (queries < size)
        row = known.nonzero()[:, 0].numpy()
        asked: Any = sp.csr_array((np.ones(len(row)), (row, queries[known].numpy())), shape=(len(queries), size))
        return torch.from_numpy((asked @ self.weight).toarray()).float()
