"""Components of texts against a dense decomposition."""

from __future__ import annotations

import numpy as np
import torch

from recsys.encoders.latent_semantic import latent_semantic, word_counts
from recsys.random import torch_rng


def test_components_are_those_of_the_dense_matrix() -> None:
    words = torch.randint(30, (80, 12), generator=torch_rng(1, "words"))
    counts = word_counts(words, 30)
    dense = np.stack([np.bincount(row, minlength=30) for row in words.numpy()]).astype(float)
    assert np.array_equal(counts.toarray(), dense)
    with np.errstate(divide="ignore"):
        weights = np.where(dense > 0, 1 + np.log(dense), 0.0) * np.log(80 / (dense > 0).sum(0))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    left = np.linalg.svd(weights, full_matrices=False)[0][:, :5]
    ours = latent_semantic(counts, 5).numpy()
    assert np.allclose(ours.mean(0), 0, atol=1e-5)
    assert np.allclose(ours.std(0, ddof=1), 1, atol=1e-5)
    for theirs, held in zip(left.T, ours.T, strict=True):
        assert abs(np.corrcoef(theirs, held)[0, 1]) > 0.9999
