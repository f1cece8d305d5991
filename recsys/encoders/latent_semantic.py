"""Latent semantic analysis: texts as the directions along which their words vary together (Deerwester et al., 1990)."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import svds
from torch import Tensor

from recsys.random import rng


def latent_semantic(counts: sp.csr_array, dim: int) -> Tensor:
    """[N, dim] of counts [N, W] without empty rows, each column of mean 0 and variance 1, the strongest first.

    Weights are (1 + log count) * log(N / texts that have the word), rows of norm 1; signs make each direction's largest
    entry positive, so that they are nobody's choice.
    """
    num, width = cast(tuple[int, int], counts.shape)
    texts = np.bincount(counts.indices, minlength=width)
    weights = (1 + np.log(counts.data)) * np.log(num / np.maximum(texts, 1))[counts.indices]
    weights /= np.sqrt(np.add.reduceat(weights**2, counts.indptr[:-1])).repeat(np.diff(counts.indptr))
    tfidf = sp.csr_array((weights, counts.indices, counts.indptr), counts.shape)
    left, sizes, right = cast(Any, svds)(tfidf, k=dim, v0=rng(0, "svd").standard_normal(min(num, width)))
    signs = np.sign(right[np.arange(dim), np.abs(right).argmax(1)])
    found = torch.from_numpy((left * (sizes * signs))[:, ::-1].copy()).float()
    return (found - found.mean(0)) / found.std(0)


def word_counts(words: Tensor, num_words: int) -> sp.csr_array:
    """[N, num_words] how often each text [N, T] has each word; places are hashed or counted, none is padding."""
    rows = np.arange(len(words)).repeat(words.shape[1])
    return sp.csr_array((np.ones(words.numel()), (rows, words.reshape(-1).numpy())), (len(words), num_words))
