"""Reviews of clothes whose labels stop at the department for most, as if an annotator had been in a hurry."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.taxonomy import Taxonomy
from recsys.value import require, value
from recsys.worlds.reviews import SHOP, WomensReviews, labels, place_of, reviews, words_of
from recsys.worlds.taxonomy import TopicLogs
from recsys.worlds.truth_taxonomy import TopicTruth
from recsys.worlds.world import Sample


@value
class ReviewTopics:
    """The Women's Clothing reviews; a share `deep` of the known ones keeps its class, drawn by lot.

    A review is `length` of its words, drawn with replacement, so that all are equally long. The classes of the new ones are
    taken for the truth. That labels stop by lot is put in; texts and labels are the shop's.
    """

    deep: float = 0.1
    length: int = 48
    num_words: int = 4096
    new: float = 0.2
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.deep <= 1, f"deep must lie in (0, 1], got {self.deep}")

    @property
    def taxonomy(self) -> Taxonomy:
        return SHOP

    def sample(self, seed: int) -> Sample:
        leaf, _ = labels()
        order = torch.randperm(len(leaf), generator=torch_rng(seed, "split"))
        new, known = order[: round(self.new * len(order))], order[round(self.new * len(order)) :]
        words = drawn_words(self.length, self.num_words, seed)
        level = (torch.rand(len(known), generator=torch_rng(seed, "depth")) < self.deep).long()
        place = SHOP.paths[leaf[known], level]
        logs = TopicLogs(words[known], level, place, round(self.held_out * len(known)), words[new])
        said = torch.nn.functional.one_hot(leaf[new], SHOP.num_leaves).float()
        return Sample(logs, TopicTruth(leaf[known], leaf[new], said))


@value
class ReviewTexts(WomensReviews):
    """The same reviews under both kinds of label, each as `length` of its words instead of components."""

    length: int = 48
    num_words: int = 4096

    def inputs(self, seed: int) -> Tensor:
        """[N, length] places in the vocabulary."""
        return drawn_words(self.length, self.num_words, seed)


def drawn_words(length: int, num_words: int, seed: int) -> Tensor:
    """[N, length] words of each review, drawn with replacement."""
    flat, starts, lengths = _texts(num_words)
    drawn = torch.rand(len(starts), length, generator=torch_rng(seed, "words"))
    return flat[starts[:, None] + (drawn * lengths[:, None]).long()]


@lru_cache(maxsize=2)
def _texts(num_words: int) -> tuple[Tensor, Tensor, Tensor]:
    """The words of all reviews one after the other, where each starts, and how many it has."""
    texts = [[place_of(word, num_words) for word in words_of(text)] or [0] for *_, text in reviews()]
    lengths = torch.tensor([len(text) for text in texts])
    return torch.tensor([word for text in texts for word in text]), lengths.cumsum(0) - lengths, lengths
