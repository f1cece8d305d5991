"""Things have latent factors; what is observed of them is a noisy, mixed rendering."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.random import torch_rng
from recsys.value import require, value
from recsys.worlds.truth_latent import ClassTruth
from recsys.worlds.world import Logs, Sample

TRAIN, VALIDATION, HELD_OUT = 0, 1, 2
COPY_NOISE = 0.05  # a second listing of a product differs by a retouched photo


@value
class Rendering:
    """Factors are seen as tanh of a random mixture, each feature with noise of its own."""

    width: int = 64
    noise: float = 1.8  # standard deviation; the clean features lie in [-1, 1]
    gain: float = 4.0  # standard deviation before tanh: the larger, the nearer the clean features are to -1 and 1
    styles: int = 8  # directions in which features vary that have nothing to do with the factors
    style: float = 6.0  # standard deviation along each of them

    def __post_init__(self) -> None:
        require(self.width > 0, f"width must be positive, got {self.width}")
        require(0 <= self.styles <= self.width, f"styles must lie in [0, width], got {self.styles}")
        require(min(self.noise, self.style) >= 0, f"noise and style must be 0 or more, got {self.noise}, {self.style}")

    def clean(self, factors: Tensor, seed: int, *names: str) -> Tensor:
        """[N, width] of factors [N, K]; the mixture belongs to the names of the stream."""
        mix = torch.randn(factors.shape[1], self.width, generator=torch_rng(seed, *names, "mixture"))
        return torch.tanh(self.gain * (factors @ mix) / factors.shape[1] ** 0.5)

    def observed(self, clean: Tensor, seed: int, *names: str) -> Tensor:
        """The clean features [N, width] with every item's own noise and style (its photographer, its seller)."""
        noise = torch.randn(clean.shape, generator=torch_rng(seed, *names, "noise"))
        taken = torch.randn(len(clean), self.styles, generator=torch_rng(seed, *names, "styles"))
        return clean + self.noise * noise + self.style * taken @ self.directions(seed, *names).T

    def directions(self, seed: int, *names: str) -> Tensor:
        """[width, styles] orthonormal."""
        generator = torch_rng(seed, *names, "directions")
        return torch.linalg.qr(torch.randn(self.width, self.styles, generator=generator)).Q

    def precision(self, seed: int, *names: str) -> Tensor:
        """[width, width] inverse covariance of what is observed around what is clean; noise 0 counts as 0.001."""
        within, directions = max(self.noise, 1e-3) ** 2, self.directions(seed, *names)
        along = self.style**2 / (within + self.style**2)
        return (torch.eye(self.width) - along * directions @ directions.T) / within


@dataclass(frozen=True)
class ClassLogs(Logs):
    """Items of a catalogue under the labels that their sellers gave them."""

    features: Tensor  # [N, F]
    labels: Tensor  # [N] int64
    part: Tensor  # [N] int64: TRAIN, VALIDATION or HELD_OUT


@value
class LatentClasses:
    """Items of one class share a prototype; the noise decides how far apart two of them may lie.

    `noise` is the switch of collapse by hard negatives: where it is large, the nearest item of another class in a batch
    is mostly nearer than the farthest of the own. `duplicates` is the switch of false negatives: that share of the
    training items are second listings of an item of another class, under a label that isn't theirs. Class sizes run
    evenly from (1 - skew) to (1 + skew) times the mean.
    """

    num_classes: int = 100
    items_a_class: int = 40
    skew: float = 0.5
    factors: int = 16
    rendering: Rendering = Rendering()
    duplicates: float = 0.0
    validation: float = 0.15
    held_out: float = 0.4

    def __post_init__(self) -> None:
        require(self.num_classes >= 2, f"num_classes must be at least 2, got {self.num_classes}")
        require(self.items_a_class >= 1, f"items_a_class must be at least 1, got {self.items_a_class}")
        require(0 <= self.skew < 1, f"skew must lie in [0, 1), got {self.skew}")
        require(0 <= self.duplicates < 1, f"duplicates must lie in [0, 1), got {self.duplicates}")
        shares = self.validation + self.held_out
        require(min(self.validation, self.held_out) >= 0 and shares < 1, f"validation and held_out leave {1 - shares}")

    def sample(self, seed: int) -> Sample:
        prototypes = torch.randn(self.num_classes, self.factors, generator=torch_rng(seed, "prototypes"))
        means = self.rendering.clean(prototypes, seed, "items")
        labels = torch.repeat_interleave(torch.arange(self.num_classes), self.sizes())
        features = self.rendering.observed(means[labels], seed, "items")
        part = self._parts(labels, seed)
        features, classes = self._relisted(features, labels, part, seed)
        return Sample(
            ClassLogs(features, labels, part), ClassTruth(classes, means, self.rendering.precision(seed, "items"))
        )

    def sizes(self) -> Tensor:
        """[C] number of items of each class, rising."""
        share = torch.linspace(1 - self.skew, 1 + self.skew, self.num_classes)
        return (self.items_a_class * share).round().long().clamp(min=1)

    def _parts(self, labels: Tensor, seed: int) -> Tensor:
        """The same shares of every class, up to rounding: places in a shuffled order of the class."""
        order = torch.rand(len(labels), generator=torch_rng(seed, "parts"))
        shuffled = (labels + order).argsort()  # within a class, in random order
        sizes = self.sizes()
        start = (sizes.cumsum(0) - sizes)[labels[shuffled]]
        place = (torch.arange(len(labels)) - start + 0.5) / sizes[labels[shuffled]]
        part = torch.full_like(labels, TRAIN)
        part[shuffled] = torch.where(place < self.held_out, HELD_OUT, torch.where(
            place < self.held_out + self.validation, VALIDATION, TRAIN))  # fmt: skip
        return part

    def _relisted(self, features: Tensor, labels: Tensor, part: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Features and true classes after some training items became second listings of others."""
        generator = torch_rng(seed, "duplicates")
        train = (part == TRAIN).nonzero().squeeze(1)
        train = train[torch.randperm(len(train), generator=generator)]
        copies, listed_once = train.tensor_split([round(self.duplicates * len(train))])
        originals = listed_once[torch.randint(len(listed_once), copies.shape, generator=generator)]
        apart = labels[copies] != labels[originals]
        copies, originals = copies[apart], originals[apart]
        jitter = COPY_NOISE * torch.randn(len(copies), features.shape[1], generator=generator)
        features = features.index_copy(0, copies, features[originals] + jitter)
        return features, labels.index_copy(0, copies, labels[originals])
