"""The reviews are what the package holds; their vectors are what a dense decomposition of the same counts gives."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from recsys.data.packages import WIDEDEEP, locate
from recsys.worlds import reviews
from recsys.worlds.reviews import CLASSES, WomensReviews, labels

TEXTS = ["The dress fits, the dress is red", "Red shoes", "it's a dress it's mine", "shoes fit", "a red red coat"]


def test_the_tree_is_the_shops() -> None:
    tree = WomensReviews().taxonomy
    tops = list(reviews.DEPARTMENTS)
    assert [(tops[tree.paths[leaf, 0]], name) for leaf, (_, name) in enumerate(CLASSES)] == CLASSES
    assert WomensReviews(label="stars").taxonomy.num_leaves == 5


def test_words_and_pairs_are_counted() -> None:
    counts = reviews._counted(TEXTS)
    for row, text in enumerate(TEXTS):
        words = re.findall(r"[a-z']+", text.lower())
        slow = Counter([*words, *(f"{a} {b}" for a, b in pairwise(words))])
        assert counts[[row]].sum() == sum(slow.values())
        assert sorted(counts[[row]].data) == sorted(slow.values())  # no two of these share a place


def test_vectors_are_those_of_a_dense_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "reviews", lambda: [(0, 1, text) for text in TEXTS])
    reviews.vectors.cache_clear()
    found = reviews.vectors(3).double().numpy()
    reviews.vectors.cache_clear()
    counts = reviews._counted(TEXTS).toarray()
    tfidf = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0) * np.log(5 / np.maximum((counts > 0).sum(0), 1))
    tfidf /= np.linalg.norm(tfidf, axis=1, keepdims=True)
    left, sizes, _ = np.linalg.svd(tfidf, full_matrices=False)
    dense = left[:, :3] * sizes[:3]
    dense = (dense - dense.mean(0)) / dense.std(0, ddof=1)
    np.testing.assert_allclose(np.abs((found * dense).sum(0)), (dense**2).sum(0), rtol=1e-5)  # but for signs


@pytest.mark.real
def test_a_seed_splits_all_the_reviews() -> None:
    table = pq.read_table(locate(WIDEDEEP) / next(iter(WIDEDEEP.files))).to_pandas()
    table = table[table["Review Text"].notna() & table["Class Name"].notna() & (table["Review Text"] != "")]
    stars = table["Rating"][table["Class Name"].isin([name for _, name in CLASSES])].value_counts()
    garment, given = labels()
    assert torch.bincount(given).tolist() == [stars[star] for star in range(1, 6)]
    logs, truth = WomensReviews(dim=4).sample(0)
    assert len(logs.label) + len(logs.new_x) == len(garment)
    together = torch.cat([logs.label, truth.new_leaf]).bincount()
    assert together.tolist() == garment.bincount().tolist()
    assert bool((truth.new_posterior.argmax(1) == truth.new_leaf).all())
    again = WomensReviews(dim=4).sample(0).logs
    assert torch.equal(again.new_x, logs.new_x)
    assert not torch.equal(WomensReviews(dim=4).sample(1).logs.new_x, logs.new_x)
