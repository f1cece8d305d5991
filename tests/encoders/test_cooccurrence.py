"""Words learnt from texts alone, against counts by hand and numpy's own decomposition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from recsys.encoders.cooccurrence import Cooccurrence, pairs
from recsys.encoders.token_bag import TokenBag

TEXTS = torch.tensor([[1, 2, 3, 0], [1, 2, 2, 0], [4, 5, 0, 0], [4, 3, 5, 1], [6, 0, 0, 0]])


def by_hand(texts: torch.Tensor, size: int, smooth: float) -> tuple[np.ndarray, np.ndarray]:
    """Counts, and positive information, by loops."""
    counts = np.zeros((size, size))
    for text in texts.tolist():
        for left, right in itertools.permutations([word for word in text if word], 2):
            counts[left, right] += left != right
    found, context = np.zeros_like(counts), counts.sum(0) ** smooth
    for left, right in zip(*counts.nonzero(), strict=True):
        expected = counts[left].sum() * context[right] / context.sum()
        found[left, right] = max(0.0, np.log(counts[left, right] / expected))
    return counts, found


@pytest.mark.parametrize("smooth", [1.0, 0.75])
def test_information_is_that_of_a_loop(smooth: float) -> None:
    counts, wanted = by_hand(TEXTS, 7, smooth)
    assert np.array_equal(pairs(TEXTS, 6).numpy(), counts)
    np.testing.assert_allclose(Cooccurrence(smooth=smooth).information(TEXTS, 6), wanted, atol=1e-5)


def test_vectors_have_the_angles_of_an_exact_decomposition() -> None:
    texts = torch.randint(0, 41, (300, 6), generator=torch.Generator().manual_seed(0))
    found = Cooccurrence(smooth=1.0)(texts, 40, 40, seed=0)
    left, values, _ = np.linalg.svd(by_hand(texts, 41, 1.0)[1])
    exact = left[:, :40] * np.sqrt(values[:40])
    exact = exact[1:] / np.linalg.norm(exact[1:], axis=1, keepdims=True)
    np.testing.assert_allclose(found[1:] @ found[1:].T, exact @ exact.T, atol=1e-3)
    assert torch.equal(found, Cooccurrence(smooth=1.0)(texts, 40, 40, seed=0))


def test_words_that_stand_with_the_same_words_lie_near_though_never_together() -> None:
    generator = torch.Generator().manual_seed(1)
    topic = torch.randint(4, (2000, 1), generator=generator)
    around = 9 + topic * 5 + torch.randint(5, (2000, 3), generator=generator)
    word = 1 + 2 * topic + torch.randint(2, (2000, 1), generator=generator)  # two words a topic, one of them a text
    found = Cooccurrence()(torch.cat([word, around], 1), 28, 4, seed=0)
    alike = found[1:9] @ found[1:9].T
    own = torch.eye(4).repeat_interleave(2, 0).repeat_interleave(2, 1).bool()
    assert float(alike[own].min()) > float(alike[~own].max()) + 0.5


def test_a_bag_begins_with_what_is_known_and_keeps_the_rest() -> None:
    plain, begun = (TokenBag().build(7, 3, 4, seed=0) for _ in range(2))
    vectors = Cooccurrence()(TEXTS, 7, 3, seed=0)
    begun.start(vectors)
    assert torch.equal(begun.table[1:6], vectors[1:6])
    assert torch.equal(begun.table[6:], plain.table[6:])  # 6 stands alone, 7 nowhere
    assert torch.equal(begun.table[0], plain.table[0])
    with pytest.raises(ValueError, match="by hash"):
        TokenBag(rows=5).build(7, 3, 4, seed=0).start(vectors)
