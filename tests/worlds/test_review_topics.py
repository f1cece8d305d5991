"""A review's words are its own, and a label is the true class or its department."""

from __future__ import annotations

import pytest
import torch

from recsys.worlds.review_topics import ReviewTopics
from recsys.worlds.reviews import SHOP, labels, place_of, reviews, words_of

pytestmark = pytest.mark.real


def test_labels_stop_by_lot_and_are_true_as_far_as_they_go() -> None:
    logs, truth = ReviewTopics(deep=0.3).sample(0)
    assert torch.equal(logs.place, SHOP.paths[truth.leaf, logs.level])
    assert abs(float(logs.level.float().mean()) - 0.3) < 0.02
    everything = torch.cat([truth.leaf, truth.new_leaf]).bincount()
    assert torch.equal(everything, labels()[0].bincount())


def test_words_are_drawn_from_the_review() -> None:
    world = ReviewTopics(length=20)
    logs, _ = world.sample(3)
    texts = [{place_of(word, world.num_words) for word in words_of(text)} or {0} for *_, text in reviews()]
    new = {tuple(sorted(set(row.tolist()))) for row in logs.new_words[:20]}
    for drawn in new:
        assert any(set(drawn) <= text for text in texts)
    assert int(logs.words.max()) < world.num_words
