"""One function for each kind of evidence that a run of this project can give; each raises ValueError saying why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
import torch

from recsys.diagnose.diagnosis import Part
from recsys.diagnose.embedding import EmbeddingHealth
from recsys.diagnose.repetition import ClickedItems, ExactLists, ServedLists
from recsys.diagnose.slates import LoggedSlates
from recsys.diagnose.stages import IndexAudit
from recsys.diagnose.tasks import GradientTrace, TaskCurves
from recsys.doctor.features import item_features
from recsys.doctor.files import RunFiles, series
from recsys.doctor.impressions import logged_slates
from recsys.funnel.funnel import Funnel
from recsys.funnel.request import FunnelSpec
from recsys.index.exact import exact_search

FOUND, SHOWN, CLICKED = 100, 10, 20
ITEMS = 4096  # item vectors whose shape is looked at, spread over the catalogue


def embedding_health(files: RunFiles) -> EmbeddingHealth:
    """Item encodings before they are normalised, of items that have events."""
    some = files.items[:: max(1, len(files.items) // ITEMS)]
    return EmbeddingHealth(torch.from_numpy(files.parts.hidden[some]))


def served_lists(files: RunFiles) -> ServedLists:
    """What the index finds for users' queries, and what the funnel as served makes of it."""
    parts, places = files.parts, _places(files)
    found = parts.index.search(files.query_vectors, FOUND).ids
    users, moments = files.users.user.numpy(), np.full(len(files.users), parts.dataset.test_start)
    shown = Funnel(parts, FunnelSpec()).recommend_indices(users, moments, SHOWN, False)
    vectors = parts.vectors[files.items]
    queries = torch.from_numpy(files.query_vectors)
    lists = torch.from_numpy(places[found]), torch.from_numpy(places[shown])
    features = item_features(files.catalogue)
    held = None if features is None else features[torch.from_numpy(files.items)]
    return ServedLists(torch.from_numpy(vectors), queries, *lists, features=held)


def exact_lists(files: RunFiles) -> ExactLists:
    """The same queries against every vector."""
    ids = np.arange(len(files.items))
    found = exact_search(files.parts.vectors[files.items], ids, files.query_vectors, FOUND).ids
    return ExactLists(torch.from_numpy(found))


def clicked_items(files: RunFiles) -> ClickedItems:
    """What these users took after the boundary, the first items of each."""
    taken, mask = files.users.positives.padded(-1)
    held = torch.where(mask, taken, -1)[:, :CLICKED].numpy()
    return ClickedItems(torch.from_numpy(np.where(held >= 0, _places(files)[held], -1)))


def index_audit(files: RunFiles) -> IndexAudit:
    """Stored vectors beside the same items encoded anew by the checkpoint, and the index's answers beside exact ones."""
    model, _ = files.model
    some = files.items[:: max(1, len(files.items) // ITEMS)]
    with torch.inference_mode():
        fresh = model.vectors(model.items(files.catalogue.take(torch.from_numpy(some)))).float()
    exact = exact_search(files.parts.vectors[files.items], files.items, files.query_vectors, FOUND).ids
    found = files.parts.index.search(files.query_vectors, FOUND).ids
    stored = torch.from_numpy(files.parts.vectors[some])
    return IndexAudit(stored, fresh, torch.from_numpy(found), torch.from_numpy(exact))


def gradient_trace(files: RunFiles) -> GradientTrace:
    """Norms and cosines that training wrote at its trace steps (train.trace_every)."""
    records = files.metrics("gradient")
    tasks = tuple(name.removeprefix("norm.") for name in records[-1] if name.startswith("norm."))
    pairs = [series(records, f"cosine.{a}.{b}") for a, b in combinations(tasks, 2)]
    return GradientTrace(
        tasks=tasks,
        steps=series(records, "step"),
        norms=np.stack([series(records, f"norm.{task}") for task in tasks], 1),
        cosines=np.stack(pairs, 1) if pairs else np.zeros((len(records), 0)),
    )


def task_curves(files: RunFiles) -> TaskCurves:
    """Quality of every task on fixed validation rows, which training writes with train.evidence=true."""
    records, noise = files.metrics("quality"), files.metrics("noise")[-1]
    tasks = tuple(
        name.removeprefix("quality.") for name in records[-1] if f"noise.{name.removeprefix('quality.')}" in noise
    )
    return TaskCurves(
        tasks=tasks,
        steps=series(records, "step"),
        values=np.stack([series(records, f"quality.{task}") for task in tasks], 1),
        noise=np.array([float(noise[f"noise.{task}"]) for task in tasks]),
    )


def _places(files: RunFiles) -> np.ndarray:
    """Item index -> place among the items with a vector; -1 for others, and for index -1."""
    places = np.full(files.parts.dataset.num_items + 1, -1, dtype=np.int64)
    places[files.items] = np.arange(len(files.items))
    return places


Builder = Callable[[RunFiles], Part]
BUILDERS: Mapping[type[Part], Builder] = {
    EmbeddingHealth: embedding_health,
    ServedLists: served_lists,
    ExactLists: exact_lists,
    ClickedItems: clicked_items,
    IndexAudit: index_audit,
    LoggedSlates: logged_slates,
    GradientTrace: gradient_trace,
    TaskCurves: task_curves,
}
