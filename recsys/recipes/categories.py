"""One network, one place to read it: categories as directions, or as places along one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from recsys.diagnose.diagnosis import Evidence, Part
from recsys.diagnose.label_geometry import LabelledFeatures, ProbeMistakes
from recsys.diagnose.partial_labels import DepthProbe, TreePredictions, TreeRefits
from recsys.encoders.words import WordBag
from recsys.heads.classes import AdjustedLinear
from recsys.losses.categories import SoftmaxCE
from recsys.random import stream_seed
from recsys.recipe import Metrics
from recsys.recipes.common_evidence import ROWS, vector_parts
from recsys.taxonomy import Taxonomy
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import value
from recsys.worlds.categories import CategoryLogs
from recsys.worlds.truth_taxonomy import CategoryTruth
from recsys.worlds.world import World

WIDER = 24  # units that a refit has more


class CategoryWorld(World, Protocol):
    """A world of products in the categories of a tree."""

    @property
    def dim(self) -> int: ...

    @property
    def taxonomy(self) -> Taxonomy: ...


@runtime_checkable
class Worded(Protocol):
    @property
    def num_words(self) -> int: ...


class Reading(Protocol):
    """Builds the last layer, learns from a class or its rank, and reads the output as chances."""

    def head(self, dim: int) -> nn.Module: ...

    def __call__(self, output: Tensor, label: Tensor) -> Tensor: ...

    def chances(self, output: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Ranked:
    """A trained network and the order of the categories that it was trained in."""

    fitted: Fitted
    rank: Tensor  # [C] place of each category


@value
class Categorise:
    """`order`: the taxonomy's, or the one found by seriation of the categories' means; no matter to a softmax."""

    world: CategoryWorld
    reading: Reading
    order: Literal["taxonomy", "seriation"] = "taxonomy"
    hidden: int = 96
    ceiling: bool = False
    train: Fit = Fit(steps=400, learning_rate=1e-2)

    def fit(self, logs: CategoryLogs, seed: int) -> Ranked:
        rank = self._rank(logs)
        lesson = self._lesson(logs, rank)
        return Ranked(self.train(self._model(seed, lesson), lesson, seed), rank)

    def fit_together(self, logs: Sequence[CategoryLogs], seeds: Sequence[int]) -> list[Ranked]:
        ranks = [self._rank(held) for held in logs]
        lessons = [self._lesson(held, rank) for held, rank in zip(logs, ranks, strict=True)]
        fitted = self.train.together([self._model(*each) for each in zip(seeds, lessons, strict=True)], lessons, seeds)
        return [Ranked(one, rank) for one, rank in zip(fitted, ranks, strict=True)]

    @torch.no_grad()
    def evaluate(self, fitted: Ranked, logs: CategoryLogs, truth: CategoryTruth) -> Metrics:
        """Expected over what the features leave open, by the world itself.

        Each metric has its own best decision: the likeliest category for accuracy, the median one for distance in ranks.
        """
        true, tree = truth.new_posterior, self.world.taxonomy
        chances = true if self.ceiling else self._chances(fitted, logs.new_x)
        best = chances.argmax(1, keepdim=True)
        right = true.gather(1, best)[:, 0]
        height = (true * tree.heights[best[:, 0]]).sum(1)
        median = (chances.cumsum(1) < 0.5).sum(1).clamp(max=chances.shape[1] - 1)
        places = torch.arange(chances.shape[1])
        distance = (true * (places - median[:, None]).abs()).sum(1)
        recall = torch.zeros(len(places)).index_add(0, truth.new_leaf, (best[:, 0] == truth.new_leaf).float())
        count = truth.new_leaf.bincount(minlength=len(places))
        return {
            "accuracy": float(right.mean()),
            "accuracy@5": float(true.gather(1, chances.topk(5, 1).indices).sum(1).mean()),
            "height_of_mistakes": float(height.sum() / (1 - right).sum()),
            "rank_error": float(distance.mean()),
            "log_loss": float(-(true * chances.clamp(min=1e-6).log()).sum(1).mean()),
            "macro_recall": float((recall / count)[count > 0].mean()),
            **fitted.fitted.stats(),
        }

    def evidence(self, fitted: Ranked, logs: CategoryLogs, seed: int) -> Evidence:
        """The labelled rows, and a plain softmax's mistakes on those held out, whatever it is that was fitted."""
        probe = replace(self, reading=SoftmaxCE(num=self.world.taxonomy.num_leaves), order="taxonomy", hidden=96)
        rows = len(logs.label) - logs.num_held_out
        learnt = fitted if probe == self else probe.fit(logs, seed)
        with torch.no_grad():
            predicted = self._said(learnt, probe.reading, logs.x[rows:])
        return Evidence.of(
            LabelledFeatures(logs.x.numpy(), logs.label.numpy()),
            ProbeMistakes(logs.label[rows:].numpy(), predicted.numpy()),
            *_vectors(learnt, logs),
            *probe._tree(learnt, logs, seed),
        )

    def _tree(self, learnt: Ranked, logs: CategoryLogs, seed: int) -> tuple[Part, ...]:
        """The categories as leaves of the tree, all labels naming one, beside a wider network's."""
        tree, rows = self.world.taxonomy, len(logs.label) - logs.num_held_out
        x, label = logs.x[rows:], logs.label[rows:]
        wider = replace(self, hidden=self.hidden + WIDER).fit(logs, seed)
        with torch.no_grad():
            chances, others = (self._chances(held, x) for held in (learnt, wider))
        own, more = ((tree.paths[held.argmax(1)] == tree.paths[label]).float() for held in (chances, others))
        deepest = torch.full_like(label, tree.depth - 1)
        levels = tree.levels(chances @ tree.inside.T.to(chances.dtype))
        return (
            TreePredictions(levels, tuple(map(torch.tensor, tree.parents)), tree.paths[chances.argmax(1)], deepest),
            TreeRefits(own, own, more, coarse_share=0.0),
            DepthProbe(torch.ones_like(label, dtype=torch.bool), torch.zeros(len(label))),
        )

    def _said(self, learnt: Ranked, reading: Reading, x: Tensor) -> Tensor:
        return reading.chances(learnt.fitted.model(x)).argmax(1)

    def layers(self) -> tuple[nn.Module, ...]:
        """What makes a product a vector [B, hidden]."""
        return (
            nn.Linear(self.world.dim, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(),
        )

    def _model(self, seed: int, lesson: Lesson) -> nn.Module:
        """Untrained; a head that wants frequencies has them from the lesson."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "init"))
            model = nn.Sequential(*self.layers(), self.reading.head(self.hidden))
        head = model[-1]
        if isinstance(head, AdjustedLinear):
            head.count(lesson.columns[1])
        return model

    def _lesson(self, logs: CategoryLogs, rank: Tensor) -> Lesson:
        rows = len(logs.label) - logs.num_held_out
        reading = self.reading

        def loss(model: nn.Module, x: Tensor, place: Tensor) -> Tensor:
            return reading(model(x), place).mean()

        def validate(model: nn.Module) -> float:
            said = reading.chances(model(logs.x[rows:])).argmax(1)
            return float((said == rank[logs.label[rows:]]).float().mean())

        return Lesson((logs.x[:rows], rank[logs.label[:rows]]), loss, validate)

    def _chances(self, fitted: Ranked, x: Tensor) -> Tensor:
        """[N, C] of categories, of chances of ranks."""
        return self.reading.chances(fitted.fitted.model(x))[:, fitted.rank]

    def _rank(self, logs: CategoryLogs) -> Tensor:
        num = self.world.taxonomy.num_leaves
        if self.order == "taxonomy":
            return torch.arange(num)
        rows = len(logs.label) - logs.num_held_out
        return seriation(logs.x[:rows], logs.label[:rows], num)


@torch.no_grad()
def _vectors(learnt: Ranked, logs: CategoryLogs) -> tuple[Part, ...]:
    """Products as the last layer sees them."""
    model = learnt.fitted.model
    assert isinstance(model, nn.Sequential)
    few = logs.x[:ROWS]
    return vector_parts(model[:-1](few), learnt.fitted.recorder, logs.label[:ROWS], few)


@value
class CategoriseTexts(Categorise):
    """Products are words [N, T], whose vectors are trained along; no order is found by seriation."""

    def layers(self) -> tuple[nn.Module, ...]:
        assert isinstance(self.world, Worded)
        return WordBag(dim=self.hidden).build(self.world.num_words), nn.ReLU()


def seriation(x: Tensor, label: Tensor, num: int) -> Tensor:
    """[num] places of classes along the line that keeps the likest together (Atkins et al., 1998: Fiedler's vector)."""
    count = label.bincount(minlength=num).clamp(min=1)[:, None]
    means = torch.zeros(num, x.shape[1], dtype=torch.float64).index_add(0, label, x.double()) / count
    gaps = torch.cdist(means, means).square()
    alike = (-gaps / gaps[gaps > 0].median()).exp().numpy()
    _, vectors = np.linalg.eigh(np.diag(alike.sum(1)) - alike)
    return torch.from_numpy(vectors[:, 1].argsort().argsort())
