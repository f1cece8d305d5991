"""Tagging posts with topics of a tree from labels that stop at any level: an encoder, a head, a loss, a decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.partial_labels import DepthProbe, TreePredictions, TreeRefits
from recsys.diagnose.word_probe import cross_fitted_log_odds
from recsys.encoders.latent_semantic import latent_semantic, word_counts
from recsys.encoders.words import WordBag
from recsys.evaluate.classification import reliability
from recsys.evaluate.hierarchy import Backoff, best_path, incoherence, inconsistent
from recsys.losses.levels import ancestors
from recsys.random import stream_seed
from recsys.recipe import Metrics
from recsys.recipes.common_evidence import ROWS, label_parts, vector_parts
from recsys.samplers.balanced import Balanced
from recsys.taxonomy import Taxonomy
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import value
from recsys.worlds.taxonomy import TopicLogs
from recsys.worlds.truth_taxonomy import TopicTruth
from recsys.worlds.world import World

WIDER = 24  # units that a refit has more
COMPONENTS = 32  # of the posts' words


class Head(Protocol):
    """Builds what turns a vector into logits, of leaves or of all topics."""

    def build(self, dim: int) -> nn.Module: ...


class PartialLoss(Protocol):
    """Learns from topics of any level, and reads the logits as chances of the topics of every level."""

    def __call__(self, output: Tensor, level: Tensor, place: Tensor) -> Tensor: ...

    def levels(self, output: Tensor) -> tuple[Tensor, ...]: ...


class TopicWorld(World, Protocol):
    """A world of posts with topics of a tree."""

    @property
    def taxonomy(self) -> Taxonomy: ...

    @property
    def num_words(self) -> int: ...


@value
class PartialLabels:
    """How each level is predicted, learnt and served.

    rows: the labels learnt from, all or only those of the deepest level. balanced: batches with as many labels of one
    level as of another. decode: each level's best topic by itself, or the best path. self_training: half-way, leaves
    are imputed inside the topic named and learnt from as soft labels (one step of EM), for leaves' logits only.
    """

    world: TopicWorld
    head: Head
    loss: PartialLoss
    rows: Literal["all", "deepest"] = "all"
    balanced: bool = False
    decode: Literal["levels", "path"] = "path"
    self_training: bool = False
    backoff: Backoff = Backoff()
    ceiling: bool = False
    encoder: WordBag = WordBag()
    train: Fit = Fit(steps=350, learning_rate=3e-2)

    def fit(self, logs: TopicLogs, seed: int) -> Fitted:
        model, lesson = self._model(seed), self.lesson(logs, seed)
        if not self.self_training:
            return self.train(model, lesson, seed)
        half = replace(self.train, steps=max(1, self.train.steps // 2))
        first = half(model, lesson, seed)
        second = half(model, self._imputed(model, lesson), seed)
        return Fitted(model, first.curve + second.curve, first.steps + second.steps)

    def lesson(self, logs: TopicLogs, seed: int) -> Lesson:
        keep = torch.arange(len(logs.level) - logs.num_held_out)
        if self.rows == "deepest":
            keep = keep[logs.level[keep] == logs.level.max()]
        level = logs.level[keep]

        def loss(model: nn.Module, words: Tensor, level: Tensor, place: Tensor) -> Tensor:
            return self.loss(model(words), level, place).mean()

        def draw(step: int) -> Tensor:
            return Balanced(batch=self.train.batch)(level, seed, step)

        columns = (logs.words[keep], level, logs.place[keep])
        return Lesson(columns, loss, self._validate(logs), draw if self.balanced else None)

    @torch.no_grad()
    def evaluate(self, fitted: Fitted, logs: TopicLogs, truth: TopicTruth) -> Metrics:
        """Expected over what the words leave open: the chance, by the world itself, that a predicted topic is right."""
        tree, posterior = self.world.taxonomy, truth.new_posterior
        true = tree.levels(posterior @ tree.inside.T.to(posterior.dtype))
        chances = true if self.ceiling else self.loss.levels(fitted.model(logs.new_words))
        places = self._served(chances)
        right, chance = _taken(true, places), _taken(chances, places)  # [M, depth]
        stop = self.backoff(chances, places)[:, None]
        error = [
            reliability(r.numpy(), c.clamp(0, 1).numpy()).expected_error for r, c in zip(right.T, chance.T, strict=True)
        ]
        kept = torch.arange(tree.depth) <= stop
        return {
            "hF": float(right.mean()),
            "hF[backoff]": float((2 * (right * kept).sum(1) / (kept.sum(1) + tree.depth)).mean()),
            **{f"accuracy[level {i + 1}]": float(held) for i, held in enumerate(right.mean(0))},
            **{f"calibration_error[level {i + 1}]": held for i, held in enumerate(error)},
            "mass[leaves]": float(chances[-1].sum(1).mean()),
            "inconsistency": float(inconsistent(tree, places).float().mean()),
            "incoherence": float(incoherence(tree, chances).mean()),
            "backoff_level": float(stop.float().mean()) + 1,
            "backoff_right": float(right.gather(1, stop).mean()),
            **fitted.stats(),
        }

    @torch.no_grad()
    def evidence(self, fitted: Fitted, logs: TopicLogs, seed: int) -> Evidence:
        """Held-out predictions, two refits and a probe of the labels' depth."""
        held = slice(len(logs.level) - logs.num_held_out, None)
        chances = self.loss.levels(fitted.model(logs.words[held]))
        parents = tuple(map(torch.tensor, self.world.taxonomy.parents))
        level = logs.level
        deep = level.double() >= level.double().mean()
        with torch.enable_grad():
            deepest = replace(self, rows="deepest", balanced=False, self_training=False)
            wider = replace(self, encoder=replace(self.encoder, dim=self.encoder.dim + WIDER))
            refitted = [(made, fitted if made == self else made.fit(logs, seed)) for made in (deepest, wider)]
            refits = [made._right(one.model, logs) for made, one in refitted]
        own = self._right(fitted.model, logs)
        return Evidence.of(
            TreePredictions(chances, parents, self._served(chances), level[held]),
            TreeRefits(own, refits[0], refits[1], float((level < level.max()).float().mean())),
            DepthProbe(deep, cross_fitted_log_odds(logs.words, deep, self.world.num_words, seed)),
            *vector_parts(self._vectors(fitted, logs), fitted.recorder),
            *label_parts(*self._named(logs), seed),
        )

    def _model(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "init"))
            return nn.Sequential(self.encoder.build(self.world.num_words), self.head.build(self.encoder.dim))

    def _vectors(self, fitted: Fitted, logs: TopicLogs) -> Tensor:
        """[N, D] of some posts."""
        assert isinstance(fitted.model, nn.Sequential)
        return fitted.model[0](logs.words[:ROWS])

    def _named(self, logs: TopicLogs) -> tuple[Tensor, Tensor, int]:
        """Topics of the second level, of the posts whose label reaches it, and the posts' words as components."""
        named = ancestors(self.world.taxonomy, logs.level, logs.place)[:, 1]
        rows = (named >= 0).nonzero()[:, 0]
        components = latent_semantic(word_counts(logs.words, self.world.num_words), COMPONENTS)
        return components[rows], named[rows], int((rows >= len(logs.level) - logs.num_held_out).sum())

    @torch.no_grad()
    def _imputed(self, model: nn.Module, lesson: Lesson) -> Lesson:
        """The same rows with chances of leaves inside the topic named, and cross entropy with them."""
        words, level, place = lesson.columns
        tree = self.world.taxonomy
        inside = tree.inside[torch.tensor(tree.starts)[level] + place]
        target = self.loss.levels(model(words))[-1] * inside
        target /= target.sum(1, keepdim=True).clamp(min=1e-12)

        def loss(model: nn.Module, words: Tensor, target: Tensor) -> Tensor:
            return -(target * model(words).log_softmax(1)).sum(1).mean()

        return Lesson((words, target), loss, lesson.validate, lesson.draw)

    def _served(self, chances: Sequence[Tensor]) -> Tensor:
        """[N, depth] predicted topics, of chances [N, width] of each level."""
        if self.decode == "path":
            return best_path(self.world.taxonomy, chances)
        return torch.stack([held.argmax(1) for held in chances], 1)

    def _validate(self, logs: TopicLogs) -> Callable[[nn.Module], float]:
        """Mean over the levels of the share of held-out labels that reach a level and are predicted right there."""
        return lambda model: float(self._right(model, logs).nanmean(0).nanmean())

    @torch.no_grad()
    def _right(self, model: nn.Module, logs: TopicLogs) -> Tensor:
        """[n, depth] whether each level of each held-out label is predicted right, NaN below the topic named."""
        held = slice(len(logs.level) - logs.num_held_out, None)
        named = ancestors(self.world.taxonomy, logs.level[held], logs.place[held])
        places = self._served(self.loss.levels(model(logs.words[held])))
        return (places == named).float().masked_fill(named < 0, torch.nan)


def _taken(levels: Sequence[Tensor], places: Tensor) -> Tensor:
    """[N, depth] chances of the topics at places [N, depth]."""
    return torch.stack([held.gather(1, places[:, i : i + 1])[:, 0] for i, held in enumerate(levels)], 1)
