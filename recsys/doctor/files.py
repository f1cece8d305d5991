"""A run folder as the doctor reads it: whatever artefacts are there, each opened once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from recsys.artefact import join_uri
from recsys.batch import Batch
from recsys.data.catalogue import Catalogue
from recsys.data.reader import read_all
from recsys.funnel.parts import Parts, Release
from recsys.model import Recommender
from recsys.tracking.log import Record, read_records
from recsys.train.checkpoint import CheckpointInfo, load_model
from recsys.value import require


@dataclass
class RunFiles:
    """`queries` users at the test boundary are looked at. Properties raise ArtefactError where something isn't there."""

    run_dir: str
    queries: int

    @cached_property
    def release(self) -> Release:
        return Release.of(self.run_dir)

    @cached_property
    def parts(self) -> Parts:
        return Parts.load(self.release)

    @cached_property
    def model(self) -> tuple[Recommender, CheckpointInfo]:
        return load_model(self.release.checkpoint)

    @cached_property
    def catalogue(self) -> Catalogue:
        """What the model encodes items from."""
        item = self.model[1].model.item
        return Catalogue.load(self.release.dataset.path, self.parts.dataset, item.id_buckets, item.num_hashes)

    @cached_property
    def users(self) -> Batch:
        """Requests of users at the test boundary, with what they took afterwards."""
        held = read_all(self.release.dataset.path, "test_users", self.parts.dataset, self.queries)
        require(len(held) > 0, f"{self.run_dir} has no users with events after the test boundary")
        return held

    @cached_property
    def query_vectors(self) -> np.ndarray:
        """[Q, D] float32 of these requests, as serving would make them."""
        parts, hidden = self.parts, torch.from_numpy(self.parts.hidden)
        with torch.inference_mode():
            state = parts.model.users(hidden[self.users.history.values], self.users, parts.users.take(self.users.user))
            return parts.model.query(state).float().numpy()

    @cached_property
    def items(self) -> np.ndarray:
        """[n] indices of the items that have a vector."""
        return np.flatnonzero(np.abs(self.parts.vectors).sum(1) > 0)

    def metrics(self, kind: str) -> list[Record]:
        """Records of this kind of the latest attempt at training, in the order of their steps."""
        records = [held for held in read_records(join_uri(self.run_dir, "metrics.jsonl")) if held["kind"] == kind]
        require(
            bool(records),
            f"{self.run_dir}/metrics.jsonl has no records of kind {kind!r}; train with train.evidence=true",
        )
        last = max(int(held["attempt"]) for held in records)
        return sorted((held for held in records if held["attempt"] == last), key=lambda held: held["step"])


def series(records: list[Record], name: str) -> np.ndarray:
    """[S] of one number; NaN where a record lacks it."""
    return np.array([_number(held.get(name)) for held in records], dtype=np.float64)


def _number(held: Any) -> float:
    return float("nan") if held is None else float(held)
