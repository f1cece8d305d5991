"""Products in categories that are near each other in a tree, along a scale, or in between; and what blurs them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.taxonomy import Taxonomy
from recsys.value import require, value
from recsys.worlds.truth_taxonomy import CategoryTruth
from recsys.worlds.world import Logs, Sample


@dataclass(frozen=True)
class CategoryLogs(Logs):
    """Products with a category; the last `num_held_out` of them are for validation."""

    x: Tensor  # [N, d] features
    label: Tensor  # [N] category, numbered along the leaves of the taxonomy
    num_held_out: int
    new_x: Tensor  # [M, d] products to be categorised


@value
class Categories:
    """Each category has a centre: (1 - scale) of one drawn down a tree, and `scale` of one on a curve through all.

    Down the tree each topic adds a Gaussian step of its level's size (`sizes`); along the curve categories follow each
    other in the order of the tree's leaves, so that tree and curve don't contradict each other. Products scatter
    around their centre with deviation noise * (1 - 0.6 scale), since the curve's neighbours lie closer.

    `zipf` is the exponent of the categories' frequencies, `flipped` the share of labels replaced by any category's,
    `hidden` the share of the last level's steps that isn't in the features that were logged.
    """

    branching: tuple[int, ...] = (15, 5, 4)
    sizes: tuple[float, ...] = (1.0, 0.8, 0.55)
    scale: float = 0.0
    span: float = 3.0  # half the length of the curve
    noise: float = 1.0
    dim: int = 24
    per_class: int = 60
    num_new: int = 2000
    held_out: float = 0.1
    zipf: float = 0.0
    flipped: float = 0.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        require(len(self.sizes) == len(self.branching), f"sizes needs {len(self.branching)} sizes, got {self.sizes}")
        for name in ("scale", "held_out", "flipped", "hidden"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie in [0, 1], got {getattr(self, name)}")
        require(self.noise > 0, f"noise must be positive, got {self.noise}")

    @property
    def taxonomy(self) -> Taxonomy:
        return Taxonomy.balanced(self.branching)

    @property
    def deviation(self) -> float:
        """Of a product around its category's centre, in every feature."""
        return self.noise * (1 - 0.6 * self.scale)

    def sample(self, seed: int) -> Sample:
        num, centres = self.per_class * self.taxonomy.num_leaves, self.centres(seed)
        prior = self.prior(seed)
        leaf = torch.multinomial(prior, num, replacement=True, generator=torch_rng(seed, "category"))
        new_leaf = torch.multinomial(prior, self.num_new, replacement=True, generator=torch_rng(seed, "new category"))
        x, new_x = self._scattered(centres[leaf], seed, "x"), self._scattered(centres[new_leaf], seed, "new x")
        wrong = torch.rand(num, generator=torch_rng(seed, "flipped")) < self.flipped
        other = torch.randint(len(centres), (num,), generator=torch_rng(seed, "flipped to"))
        logs = CategoryLogs(x, torch.where(wrong, other, leaf), round(self.held_out * num), new_x)
        distance = torch.cdist(new_x.double(), centres.double()).square() / (2 * self.deviation**2)
        posterior = (prior.double().log() - distance).softmax(1).float()
        return Sample(logs, CategoryTruth(leaf, new_leaf, posterior))

    def centres(self, seed: int) -> Tensor:
        """[C, d] where each category lies."""
        tree, paths = torch.zeros(self.taxonomy.num_leaves, self.dim), self.taxonomy.paths
        for level, (size, width) in enumerate(zip(self.sizes, self.taxonomy.widths, strict=True)):
            last = level == len(self.sizes) - 1
            each = torch.randn(width, self.dim, generator=torch_rng(seed, "steps", level))
            tree += (size * (1 - self.hidden) if last else size) * each[paths[:, level]]
        along, aside = torch.randn(2, self.dim, generator=torch_rng(seed, "curve"))
        t = torch.linspace(-self.span, self.span, len(paths))[:, None]
        return (1 - self.scale) * tree + self.scale * (t * along + 0.25 * (2 * t).sin() * aside)

    def prior(self, seed: int) -> Tensor:
        """[C] how frequent each category is."""
        rank = torch.randperm(self.taxonomy.num_leaves, generator=torch_rng(seed, "frequency")) + 1
        share = rank.float() ** -self.zipf
        return share / share.sum()

    def _scattered(self, centres: Tensor, seed: int, name: str) -> Tensor:
        return centres + self.deviation * torch.randn(centres.shape, generator=torch_rng(seed, name))
