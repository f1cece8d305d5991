"""Marginal relevance is what its definition says, and off means off."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.funnel.rerank import mmr
from recsys.random import rng


def by_definition(relevance: np.ndarray, vectors: np.ndarray, k: int, lam: float) -> list[int]:
    """Greedy choice, one item at a time, over all that are left."""
    span = relevance.max() - relevance.min()
    scaled = (relevance - relevance.min()) / (span if span > 0 else 1.0)
    left, chosen = list(range(len(relevance))), []
    while left and len(chosen) < k:
        penalty = [max((float(vectors[i] @ vectors[j]) for j in chosen), default=0.0) for i in left]
        gains = [(1 - lam) * scaled[i] - lam * p for i, p in zip(left, penalty, strict=True)]
        chosen.append(left.pop(int(np.argmax(gains))))
    return chosen + left


@given(
    seed=st.integers(0, 10_000),
    width=st.integers(1, 12),
    k=st.integers(1, 12),
    lam=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
)
@settings(max_examples=60, deadline=None)
def test_it_is_the_greedy_definition(seed: int, width: int, k: int, lam: float) -> None:
    random = rng(seed, "mmr")
    lengths = random.integers(1, width + 1, 3)
    valid = np.arange(width) < lengths[:, None]
    relevance = -np.sort(-random.random((3, width)), axis=1)
    vectors = random.standard_normal((3, width, 4))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    places = mmr(np.where(valid, relevance, -np.inf), vectors, valid, k, lam)
    for row, length in enumerate(lengths):
        assert sorted(places[row].tolist()) == list(range(width))
        assert places[row, :length].tolist() == by_definition(relevance[row, :length], vectors[row, :length], k, lam)


def test_a_twin_comes_after_something_else() -> None:
    twin, other = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    vectors = np.stack([twin, twin, other])[None]
    relevance, valid = np.array([[1.0, 0.95, 0.7]]), np.ones((1, 3), dtype=bool)
    assert mmr(relevance, vectors, valid, 3, 0.0).tolist() == [[0, 1, 2]]
    assert mmr(relevance, vectors, valid, 3, 0.6).tolist() == [[0, 2, 1]]


def test_equal_relevance_and_empty_lists_are_no_trouble() -> None:
    vectors = np.ones((1, 3, 1))
    assert mmr(np.ones((1, 3)), vectors, np.ones((1, 3), dtype=bool), 2, 0.5).tolist() == [[0, 1, 2]]
    assert mmr(np.full((1, 3), -np.inf), vectors, np.zeros((1, 3), dtype=bool), 2, 0.5).shape == (1, 3)
    assert mmr(np.ones((1, 0)), np.ones((1, 0, 2)), np.ones((1, 0), dtype=bool), 2, 0.5).shape == (1, 0)
