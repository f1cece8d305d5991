"""Posts about topics of a tree: words of every level, siblings' words among them, labels that stop half-way down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.taxonomy import Taxonomy
from recsys.value import require, value
from recsys.worlds.truth_taxonomy import TopicTruth
from recsys.worlds.world import Logs, Sample


@dataclass(frozen=True)
class TopicLogs(Logs):
    """Posts with the deepest topic that an annotator named; the last `num_held_out` of them are for validation."""

    words: Tensor  # [N, T] places in the vocabulary
    level: Tensor  # [N] level of the topic named, 0 the broadest
    place: Tensor  # [N] its place in that level
    num_held_out: int
    new_words: Tensor  # [M, T] posts without labels, to be tagged


@value
class TopicPosts:
    """A post has a leaf of the taxonomy; each word comes from the background or from a topic on the leaf's path.

    `signal[l]` is the share of words of level l, `contamination` the chance that a topic's word is a sibling's instead.
    `depths[l]` is the share of posts whose label stops at level l. With `selection` 0 that has nothing to do with the
    post; towards 1 annotators go deep where they know the topic ("topic": some leaves are familiar and others not) or
    where the post is clear ("clarity": by the chance that a perfect reader gives the true leaf). A share `audited` of
    the posts is labelled by lot all the same.
    """

    branching: tuple[int, ...] = (5, 4, 4, 4)
    num_posts: int = 8000
    num_new: int = 2000
    held_out: float = 0.1  # share of the labelled posts
    length: int = 24
    signal: tuple[float, ...] = (0.14, 0.13, 0.12, 0.12)
    words_per_topic: int = 4
    background: int = 300  # words without topic, by Zipf's law
    contamination: float = 0.25
    depths: tuple[float, ...] = (0.5, 0.25, 0.15, 0.10)
    selection: float = 0.0
    selected_by: Literal["topic", "clarity"] = "topic"
    audited: float = 0.0

    def __post_init__(self) -> None:
        depth = len(self.branching)
        require(len(self.signal) == depth, f"signal needs {depth} shares, one a level, got {self.signal}")
        require(len(self.depths) == depth, f"depths needs {depth} shares, one a level, got {self.depths}")
        require(abs(sum(self.depths) - 1) < 1e-6, f"depths must sum to 1, got {self.depths}")
        require(sum(self.signal) <= 1, f"signal must sum to at most 1, got {self.signal}")
        for name in ("selection", "audited", "held_out", "contamination"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie in [0, 1], got {getattr(self, name)}")
        require(min(self.branching) > 1, f"every topic needs a sibling, got branching {self.branching}")

    @property
    def taxonomy(self) -> Taxonomy:
        return Taxonomy.balanced(self.branching)

    @property
    def num_words(self) -> int:
        return self.background + self.taxonomy.num_nodes * self.words_per_topic

    def sample(self, seed: int) -> Sample:
        leaf = torch.randint(self.taxonomy.num_leaves, (self.num_posts,), generator=torch_rng(seed, "leaf"))
        new_leaf = torch.randint(self.taxonomy.num_leaves, (self.num_new,), generator=torch_rng(seed, "new leaf"))
        words, new_words = self._written(leaf, seed, "words"), self._written(new_leaf, seed, "new words")
        level = self._levels(leaf, words, seed)
        place = self.taxonomy.paths[leaf, level]
        logs = TopicLogs(words, level, place, round(self.held_out * self.num_posts), new_words)
        return Sample(logs, TopicTruth(leaf, new_leaf, self.posterior(new_words)))

    def chances(self) -> Tensor:
        """[C, V] chance of each word in a post about each leaf."""
        tree = self.taxonomy
        found = torch.zeros(tree.num_leaves, self.num_words)
        found[:, : self.background] = (1 - sum(self.signal)) * _zipf(self.background)
        for level, share in enumerate(self.signal):
            parents = torch.tensor(tree.parents[level])
            siblings = (parents[:, None] == parents) & ~torch.eye(len(parents), dtype=torch.bool)
            mixed = self.contamination * siblings / siblings.sum(1, keepdim=True)
            mixed += (1 - self.contamination) * torch.eye(len(parents))  # [W, W] whose words a topic's post uses
            start = self.background + tree.starts[level] * self.words_per_topic
            each = mixed[tree.paths[:, level]].repeat_interleave(self.words_per_topic, 1) / self.words_per_topic
            found[:, start : start + each.shape[1]] = share * each
        return found

    def posterior(self, words: Tensor) -> Tensor:
        """[N, C] chance of each leaf given words [N, T]; leaves are equally frequent."""
        log = self.chances().clamp(min=1e-12).log().T.contiguous()  # [V, C]
        return torch.stack([log[words[:, t]] for t in range(words.shape[1])]).sum(0).softmax(1)

    def _written(self, leaf: Tensor, seed: int, name: str) -> Tensor:
        """Words [N, T] of posts about leaves [N]."""
        chances = self.chances().cumsum(1)
        drawn = torch.rand(len(leaf), self.length, generator=torch_rng(seed, name)) * chances[leaf, -1:]
        return torch.searchsorted(chances[leaf], drawn).clamp(max=self.num_words - 1)

    def _levels(self, leaf: Tensor, words: Tensor, seed: int) -> Tensor:
        """[N] levels at which annotators stop, in the shares of `depths`, deeper for those of whom they are surer."""
        lot = torch.randn(len(leaf), generator=torch_rng(seed, "annotator"))
        if self.selection > 0:
            chosen = torch.rand(len(leaf), generator=torch_rng(seed, "audited")) >= self.audited
            sure = self.selection * self._sure(leaf, words, seed) + (1 - self.selection**2) ** 0.5 * lot
            lot = torch.where(chosen, sure, lot)
        rank = lot.argsort().argsort().double() / len(leaf)
        return torch.searchsorted(torch.tensor(self.depths).double().cumsum(0)[:-1].contiguous(), rank, right=True)

    def _sure(self, leaf: Tensor, words: Tensor, seed: int) -> Tensor:
        """[N] how well an annotator knows the topic, or how clear the post is; mean 0 and deviation 1."""
        if self.selected_by == "topic":
            return torch.randn(self.taxonomy.num_leaves, generator=torch_rng(seed, "familiar"))[leaf]
        clear = self.posterior(words)[torch.arange(len(leaf)), leaf].log()
        return (clear - clear.mean()) / clear.std()


def _zipf(num: int) -> Tensor:
    share = 1 / torch.arange(1, num + 1).float()
    return share / share.sum()
