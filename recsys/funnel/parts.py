"""A release is a model, its item vectors, its index and its data; parts of two releases are never mixed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recsys.artefact import Artefact, join_uri, opened
from recsys.data.catalogue import UserTable
from recsys.data.spec import DatasetSpec
from recsys.funnel.records import Records
from recsys.index.build import load_index
from recsys.index.envelope import SealedIndex
from recsys.index.item_vectors import ItemVectors
from recsys.index.vector_index import VectorIndex
from recsys.model import Recommender
from recsys.train.checkpoint import load_model, model_fingerprint
from recsys.value import require
from recsys.version import VERSION


@dataclass(frozen=True, slots=True)
class Release:
    """The four artefacts that are served together."""

    dataset: Artefact
    checkpoint: Artefact
    item_vectors: Artefact
    index: Artefact

    @classmethod
    def of(cls, run_dir: str | Path, index: Artefact | None = None) -> Release:
        """The artefacts of a run folder, verified; the index may be another one than the run's own.

        Raises ArtefactError naming the first that is missing or damaged, ValueError when item vectors or index belong
        to another checkpoint.
        """
        dataset, checkpoint, item_vectors = (
            opened(join_uri(run_dir, kind), kind) for kind in ("dataset", "checkpoint", "item_vectors")
        )
        release = cls(dataset, checkpoint, item_vectors, index or opened(join_uri(run_dir, "index"), "index"))
        made_by = {"checkpoint": release.checkpoint.fingerprint, "model": model_fingerprint(release.checkpoint)}
        for part in (release.item_vectors, release.index):
            for what, expected in made_by.items():
                require(
                    part.meta.get(what) == expected,
                    f"{part.path} was made by {what} {part.meta.get(what)}, but {release.checkpoint.path} is "
                    f"{what} {expected}; run jobs.embed and jobs.index for it",
                )
        return release

    @property
    def versions(self) -> dict[str, str]:
        held = {name: getattr(self, name).fingerprint for name in ("dataset", "checkpoint", "item_vectors", "index")}
        return {**held, "model": self.item_vectors.meta["model"], "code": VERSION}


@dataclass(frozen=True, slots=True)
class Parts:
    """What a funnel is made of, all from one checkpoint."""

    dataset: DatasetSpec
    records: Records
    model: Recommender
    users: UserTable
    vectors: np.ndarray  # [V, D] float32
    hidden: np.ndarray  # [V, H] float32
    sealed: SealedIndex
    groups: dict[str, np.ndarray]  # of items [V], by categorical column
    versions: dict[str, str]

    @classmethod
    def load(cls, release: Release) -> Parts:
        """Raises ValueError when the checkpoint was trained on another data set."""
        model, info = load_model(release.checkpoint)
        dataset = DatasetSpec.from_json(release.dataset.meta["spec"])
        require(
            dataset == info.dataset,
            f"{release.checkpoint.path} was trained on another data set than {release.dataset.path}; "
            "train again, or give the run folder that the checkpoint belongs to",
        )
        vectors, hidden = ItemVectors.load(release.item_vectors).by_index(dataset.num_items)
        return cls(
            dataset=dataset,
            records=Records(release.dataset.path, dataset),
            model=model,
            users=UserTable.load(release.dataset.path, dataset, info.model.user.user_buckets),
            vectors=vectors,
            hidden=hidden,
            sealed=load_index(release.index, info.fingerprint, release.versions["model"]),
            groups=_groups(release.dataset.path, dataset),
            versions=release.versions,
        )

    @property
    def index(self) -> VectorIndex:
        return self.sealed.index


def _groups(folder: Path, dataset: DatasetSpec) -> dict[str, np.ndarray]:
    table = pq.read_table(folder / "items.parquet", columns=list(dataset.item_categorical))
    return {name: table[name].to_numpy() for name in dataset.item_categorical}


class Stopwatch:
    """Milliseconds by stage; a stage that comes again adds to what it took before."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._last) * 1000
        self._last = now
