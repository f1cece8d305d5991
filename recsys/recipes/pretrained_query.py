"""A pretrained encoder answers queries over an index of its own vectors; a student takes its place, the index stays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recsys.data.packages import MINILM, locate
from recsys.data.text import MiniLM
from recsys.encoders.query import HashedBag, Transformer
from recsys.evaluate.buckets import recall_of_each
from recsys.evaluate.timing import interleave
from recsys.losses.distil import EmbeddingDistill
from recsys.recipe import Metrics
from recsys.recipes.query_scores import overlap
from recsys.train.fit import Fit, Fitted, Lesson
from recsys.value import value
from recsys.worlds.review_titles import PADDING, TitleLogs
from recsys.worlds.truth_searches import SearchesTruth
from recsys.worlds.world import World

OPEN, CLOSE, MISSING = 101, 102, 100  # of BERT's vocabulary: [CLS], [SEP], [UNK]
AGREED, FOUND, TIMED, ROUNDS = 20, 50, 20, 5


@dataclass(frozen=True, slots=True)
class Replaced:
    """What answers, with its training; the teacher's vectors of queries stand in for it where it answers itself."""

    student: nn.Module
    teacher: Teacher
    fitted: Fitted


@value
class PretrainedQuery:
    """`student` None leaves the pretrained encoder in place, or its first `layers`; else its vectors of queries are learnt."""

    world: World
    student: Transformer | HashedBag | None = Transformer(layers=1)
    layers: int | None = None
    train: Fit = Fit(steps=1000, batch=128, learning_rate=6e-3)

    def fit(self, logs: TitleLogs, seed: int) -> Replaced:
        teacher, near = Teacher(logs.pieces), EmbeddingDistill()
        if self.student is None:
            return Replaced(Teacher(logs.pieces, self.layers), teacher, Fitted(teacher, (), 0))

        def loss(model: nn.Module, tokens: Tensor, wanted: Tensor) -> Tensor:
            return near(model(tokens), wanted).mean()

        def validate(model: nn.Module) -> float:
            return -float(loss(model, logs.validation, logs.validation_vectors))

        dim, longest = logs.items.shape[1], logs.unlabelled.shape[1]
        student = self.student.build(len(logs.pieces) - 1, dim, longest, seed)
        fitted = self.train(student, Lesson((logs.unlabelled, logs.vectors), loss, validate), seed)
        return Replaced(fitted.model, teacher, fitted)

    @torch.no_grad()
    def evaluate(self, fitted: Replaced, logs: TitleLogs, truth: SearchesTruth) -> Metrics:
        wanted = logs.held_out_vectors @ logs.items.T
        scores = fitted.student(logs.held_out) @ logs.items.T
        recall = recall_of_each(scores, truth.relevant, FOUND)
        top, own = (held.topk(AGREED, dim=1).indices for held in (scores, wanted))
        named = {"recall@50": recall, "recall@50[rare]": recall[~truth.head], "agreement@20": overlap(top, own)}
        found = {name: float(held.mean()) for name, held in named.items()}
        return {**found, **_times(fitted, logs.held_out[:TIMED]), **fitted.fitted.stats()}


class Teacher(nn.Module):
    """The pretrained encoder, or its first `layers`, behind the students' tokens; nothing in it is trained."""

    def __init__(self, pieces: Tensor, layers: int | None = None) -> None:
        super().__init__()
        self.pieces, self.encoder = pieces.clone(), MiniLM(locate(MINILM))
        self.pieces[1] = MISSING
        if layers is not None:
            self.encoder.config["num_hidden_layers"] = layers

    def forward(self, tokens: Tensor) -> Tensor:
        return self.encoder.batch([[OPEN, *self.pieces[row[row != PADDING]].tolist(), CLOSE] for row in tokens])


def _times(fitted: Replaced, queries: Tensor) -> dict[str, float]:
    """CPU milliseconds of a query by itself, over the teacher's, interleaved; and the teacher's over its own."""
    rows = [query[query != PADDING][None] for query in queries]

    def ask(model: nn.Module) -> None:
        with torch.inference_mode():
            for row in rows:
                model(row)

    found = interleave({"teacher": lambda: ask(fitted.teacher), "student": lambda: ask(fitted.student)}, ROUNDS)
    each = 1e3 * found.median("student") / len(rows)
    return {"query_ms": each, "time_ratio": found.ratio("student", "teacher"), "time_aa": found.aa_ratio}
