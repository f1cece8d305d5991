"""Items are embedded so that those of one class lie together: trained on labelled batches, judged on unseen items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from recsys.diagnose.diagnosis import Evidence, Part
from recsys.diagnose.embedding import EmbeddingHealth, Shape, copies
from recsys.diagnose.training import Replays, TrainingTrace, tail
from recsys.encoders.feature_tower import FeatureTower, silent_share
from recsys.evaluate.nearest import by_size, nearest, recall_at_1
from recsys.losses.triplet import EasyNegatives, Triplet, mean_of_active
from recsys.losses.uniformity import Uniformity
from recsys.recipe import Metrics
from recsys.recipes.common_evidence import label_parts
from recsys.samplers.pk import PKSampler
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.train.record import Recorder
from recsys.value import value
from recsys.worlds.latent import HELD_OUT, TRAIN, VALIDATION, ClassLogs
from recsys.worlds.world import World


@dataclass(frozen=True)
class Embedding:
    """A trained item tower and what its training left behind."""

    fitted: Fitted
    recorder: Recorder  # of the loss over all anchors, and of how many have one

    def series(self) -> dict[str, Tensor]:
        """[S] of what was recorded of every step."""
        return self.fitted.recorder.series() | self.recorder.series()


@value
class MetricLearning:
    """One loss, one sampler, one tower: whatever can make a triplet model collapse is a field of this."""

    world: World
    tower: FeatureTower = FeatureTower()
    loss: Any = Triplet()  # a BatchLoss
    sampler: Any = PKSampler()
    active: bool = True  # average over the losses that aren't 0
    uniformity: float = 0.0  # weight of the uniformity of the batch's directions
    drop_copies: bool = False  # train without items that have a near duplicate under another label
    train: Fit = Fit(steps=400, learning_rate=1e-2)
    scored: Literal["tower", "features", "truth"] = "tower"
    replay: Any = Triplet()  # the BatchLoss, on unit vectors, which a replay puts in place of the loss
    replay_steps: int = 80

    def fit(self, logs: ClassLogs, seed: int) -> Embedding:
        if self.scored != "tower":
            return Embedding(Fitted(nn.Identity(), (), 0), Recorder())
        features, taken = standardised(logs.features, logs.part == TRAIN), logs.part == TRAIN
        if self.drop_copies:
            rows = taken.nonzero().squeeze(1)
            taken = taken.index_fill(0, rows[copies(features[rows], logs.labels[rows])], False)
        recorder = Recorder()
        lesson = self.lesson(features, logs.labels, taken, logs.part == VALIDATION, (recorder, seed))
        return Embedding(self.train(self.tower.build(features.shape[1], seed), lesson, seed), recorder)

    def lesson(
        self, features: Tensor, labels: Tensor, taken: Tensor, check: Tensor, told: tuple[Recorder, int]
    ) -> Lesson:
        recorder, seed = told
        kinds, now = labels[taken], {"step": 0}

        def draw(step: int) -> Tensor:
            now["step"] = step
            return self.sampler(kinds, step, seed)

        def loss(model: Any, x: Tensor, y: Tensor) -> Tensor:
            vectors = model(x)
            losses = self.loss(vectors, y, now["step"])
            recorder.note(loss=losses.detach().mean(), active=(losses.detach() > 0).float().mean())
            mean = mean_of_active(losses) if self.active else losses.mean()
            if not self.uniformity:
                return mean
            return mean + self.uniformity * Uniformity()(torch.nn.functional.normalize(vectors, dim=1))

        def validate(model: nn.Module) -> float:
            return recall_at_1(model(features[check]), labels[check])

        return Lesson((features[taken], kinds), loss, validate, draw)

    def evaluate(self, fitted: Embedding, logs: ClassLogs, truth: Any) -> Metrics:
        held = logs.part == HELD_OUT
        if self.scored == "truth":
            chance = truth.posterior(logs.features[held])
            found = (chance @ chance.T).fill_diagonal_(-1).argmax(1)
            return by_size(truth.classes[held][found] == truth.classes[held], truth.classes[held])
        vectors, classes = self.embed(fitted, logs)[held], truth.classes[held]
        shape = Shape.of(vectors)
        scores = by_size(classes[nearest(vectors)] == classes, classes)
        scores |= {"norm": shape.norm, "spread": shape.spread, "cosine": shape.cosine, "rank": shape.rank}
        return {**scores, **self._ends(fitted), **fitted.fitted.stats()}

    @torch.no_grad()
    def embed(self, fitted: Embedding, logs: ClassLogs) -> Tensor:
        """[N, D] vectors of all items."""
        return fitted.fitted.model(standardised(logs.features, logs.part == TRAIN))

    def evidence(self, fitted: Embedding, logs: ClassLogs, seed: int) -> Evidence:
        train, vectors = logs.part == TRAIN, self.embed(fitted, logs)
        features = standardised(logs.features, train)
        health = EmbeddingHealth(vectors[train], logs.labels[train], features[train])
        named = label_parts(*self._named(logs), seed)
        if self.scored != "tower":
            return Evidence.of(health, *named)
        return Evidence.of(health, *named, self._trace(fitted, vectors, logs, seed), self._replays(logs, seed))

    def _named(self, logs: ClassLogs) -> tuple[Tensor, Tensor, int]:
        """Features and labels of what isn't held out for the verdict, and how many of the rows check a probe."""
        known, check = logs.part != HELD_OUT, logs.part == VALIDATION
        return logs.features[known], logs.labels[known], int(check.sum())

    def _trace(self, fitted: Embedding, vectors: Tensor, logs: ClassLogs, seed: int) -> Part:
        series, train = fitted.series(), logs.part == TRAIN
        rows = [self.sampler(logs.labels[train], step, seed) for step in range(8)]
        semihard = Triplet(negative="semihard", metric=self.metric, margin=self.margin)
        held = [semihard(vectors[train][row], logs.labels[train][row], 0) for row in rows]
        model = fitted.fitted.model
        assert isinstance(model, nn.Sequential)
        return TrainingTrace(
            **series,
            margin=self.margin,
            triplets=self.margin is not None or isinstance(self.loss, Triplet),
            silent=silent_share(model, standardised(logs.features, train)[train]),
            semihard_active=None if self.margin is None else float((torch.cat(held) > 0).float().mean()),
        )

    def _replays(self, logs: ClassLogs, seed: int) -> Replays:
        short = replace(self, train=replace(self.train, steps=min(self.replay_steps, self.train.steps), checks=1))
        unit = replace(short, loss=self.replay, tower=replace(self.tower, normalise=True))
        runs = [short, unit, replace(short, drop_copies=True)]
        return Replays(int((logs.part == VALIDATION).sum()), *(run.fit(logs, seed).fitted.curve[-1] for run in runs))

    @property
    def margin(self) -> float | None:
        return self.loss.margin if isinstance(self.loss, Triplet | EasyNegatives) else None

    @property
    def metric(self) -> Any:
        return self.loss.metric if isinstance(self.loss, Triplet) else "squared"

    def _ends(self, fitted: Embedding) -> dict[str, float]:
        ends = {name: tail(held) for name, held in fitted.series().items()}
        return ends | ({"loss/margin": ends["loss"] / self.margin} if ends and self.margin else {})


def standardised(features: Tensor, train: Tensor) -> Tensor:
    """[N, F] with mean 0 and deviation 1 over the training items [N] bool."""
    mean, deviation = features[train].mean(0), features[train].std(0)
    return (features - mean) / deviation.clamp(min=1e-6)
