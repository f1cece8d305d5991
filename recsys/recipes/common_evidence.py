"""Evidence that is made the same way for every system that has it, and that detectors of several problems read."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from recsys.diagnose.diagnosis import Part
from recsys.diagnose.embedding import EmbeddingHealth
from recsys.diagnose.label_geometry import LabelledFeatures, ProbeMistakes
from recsys.diagnose.repetition import ClickedItems, ExactLists, ServedLists
from recsys.diagnose.stages import IndexAudit
from recsys.diagnose.training import TrainingTrace
from recsys.evaluate.ranks import top_k
from recsys.random import stream_seed, torch_rng
from recsys.train.fit import Fit, Lesson
from recsys.train.record import Recorder

QUERIES, CLICKS = 200, 24  # looked at, and of each
DEPTH, PLACES = 100, 10  # found and shown of a query
ROWS = 2000  # of training rows whose neighbours are searched: pairs grow with the square
PROBE = Fit(steps=300, learning_rate=1e-2)


def vector_parts(
    vectors: Tensor, recorder: Recorder | None = None, labels: Tensor | None = None, features: Tensor | None = None
) -> tuple[Part, ...]:
    """Item vectors [N, D], and the steps of the run that made them, which compared no distances, if it was recorded."""
    health = EmbeddingHealth(vectors, labels, features)
    if recorder is None or not recorder.rows:
        return (health,)
    held = recorder.series()
    return health, TrainingTrace(held["loss"], triplets=False, gradient=held["gradient"], weight=held["weight"])


def search_parts(
    items: Tensor, queries: Tensor, clicks: Tensor, features: Tensor, shown: Tensor | None = None
) -> tuple[Part, ...]:
    """Of a system that searches item vectors [N, D] of features [N, F] exactly; shown [Q, k]: its best, if no ranker follows."""
    found = nearest(items, queries)
    lists = found[:, :PLACES] if shown is None else shown
    return IndexAudit(items, items, found, found), *served_parts(
        (items, queries), (found, found, lists), clicks, features
    )


def nearest(items: Tensor, queries: Tensor) -> Tensor:
    """[Q, DEPTH] places of the items of largest inner product."""
    return top_k(queries @ items.T, DEPTH)


def served_parts(
    vectors: tuple[Tensor, Tensor], lists: tuple[Tensor, Tensor, Tensor], clicks: Tensor, features: Tensor
) -> tuple[Part, ...]:
    """Vectors of items and queries; places as found, by exact search, and as shown; what the items are encoded from."""
    items, queries = (normalize(held, dim=1) for held in vectors)
    found, exact, shown = lists
    return ServedLists(items, queries, found, shown, features), ExactLists(exact), ClickedItems(clicks)


def clicks_of(pairs: Tensor, wanted: Tensor) -> Tensor:
    """[Q, CLICKS] items of the first clicks of each wanted query [Q], by (query, item) [N, 2]; -1 beyond."""
    queries, clicked = pairs.unbind(1)
    held = torch.full((len(wanted), CLICKS), -1)
    for row, query in enumerate(wanted.tolist()):
        items = clicked[queries == query][:CLICKS]
        held[row, : len(items)] = items
    return held


def label_parts(x: Tensor, label: Tensor, num_held_out: int, seed: int) -> tuple[Part, ...]:
    """Rows of features [N, d] and classes [N] in random order, and what a linear softmax says of those held out."""
    order = torch.randperm(len(x), generator=torch_rng(seed, "label order"))
    x, label = x[order], label[order]
    learnt = len(x) - num_held_out
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "label probe"))
        probe = nn.Linear(x.shape[1], int(label.max()) + 1)
    scaled = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)
    lesson = Lesson((scaled[:learnt], label[:learnt]), lambda model, rows, wanted: cross_entropy(model(rows), wanted))
    with torch.enable_grad():
        model = PROBE(probe, lesson, seed).model
    with torch.no_grad():
        predicted = model(scaled[learnt:]).argmax(1)
    return (
        LabelledFeatures(x.numpy(), label.numpy()),
        ProbeMistakes(label[learnt:].numpy(), predicted.numpy()),
    )
