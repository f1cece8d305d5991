"""An index carries questions with their answers, and the name of the model whose vectors it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self
from zipfile import BadZipFile

import numpy as np

from recsys.artefact import Artefact, ArtefactError
from recsys.index.catalogue import spread
from recsys.index.exact import Hits
from recsys.index.vector_index import VectorIndex
from recsys.value import require

GOLDEN_FILE = "golden.npz"
GOLDEN, TOP = 64, 10
SAMPLED_ROWS = 1024
# Another processor adds in another order: scores differ in the last bits, and what they tie may change places.
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Queries:
    """Query vectors with the model that encoded them; only its own items can be searched with them.

    `checkpoint` is the fingerprint of all weights and settings, `model` that of the item tower alone, so a model can
    outlive a checkpoint (heads retrained over the same items) but never the other way round.
    """

    vectors: np.ndarray  # [Q, D] float32, norm 1
    checkpoint: str
    model: str


@dataclass(frozen=True, slots=True)
class Golden:
    """Queries with what an index answered when it was built, and how closely it keeps its vectors."""

    queries: np.ndarray  # [G, D] float32
    ids: np.ndarray  # [G, k] int64, k = 10 or all items of a smaller index
    scores: np.ndarray  # [G, k] float32
    row_error: float  # largest 1 - cosine of a kept row with the vector that was given, over some rows

    @classmethod
    def of(cls, index: VectorIndex, queries: np.ndarray, vectors: np.ndarray) -> Golden:
        """Up to 64 of the queries [Q, D]; where there are none, vectors [n, D] of the index stand in, by place."""
        asked = spread(queries if len(queries) else vectors, GOLDEN)
        hits = index.search(asked, TOP)
        places = spread(np.arange(len(index)), SAMPLED_ROWS)
        error = 1 - cosines(kept_rows(index, places), vectors[places])
        return cls(asked, hits.ids, hits.scores, float(max(0.0, error.max(initial=0.0))))

    def save(self, folder: Path) -> None:
        held = {"queries": self.queries, "ids": self.ids, "scores": self.scores, "row_error": np.array(self.row_error)}
        np.savez(folder / GOLDEN_FILE, **held)  # type: ignore[arg-type]

    @classmethod
    def load(cls, folder: Path) -> Golden:
        """Raises ArtefactError when the file is missing or isn't what `save` writes."""
        try:
            with np.load(folder / GOLDEN_FILE, allow_pickle=False) as held:
                return cls(held["queries"], held["ids"], held["scores"], float(held["row_error"]))
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ArtefactError(
                f"{folder / GOLDEN_FILE} can't be read ({error}): build the index again with jobs.index"
            ) from error

    def check(self, index: VectorIndex, where: Path) -> None:
        """Ask the index again. Raises ArtefactError with the first query that it answers otherwise."""
        if len(self.queries):
            self.compare(index.search(self.queries, TOP), where)

    def compare(self, found: Hits, where: Path) -> None:
        """Hold answers to the golden queries against those of old; raises ArtefactError as `check` does.

        Scores must agree at every rank, and an item may be missing only where its score ties with the last one.
        """
        if found.ids.shape != self.ids.shape:
            raise _strange(where, 0, f"{found.ids.shape[1]} items instead of {self.ids.shape[1]}")
        for row in range(len(self.ids)):
            gap = np.abs(found.scores[row] - self.scores[row]).max(initial=0.0)
            clear = self.scores[row] > self.scores[row].min(initial=np.inf) + TOLERANCE
            lost = np.setdiff1d(self.ids[row][clear], found.ids[row])
            if len(lost) or not gap <= TOLERANCE:
                raise _strange(where, row, f"scores off by {gap:.2g}, items {lost.tolist()} missing")


@dataclass(frozen=True, slots=True)
class SealedIndex:
    """An index that answered its golden queries as when it was built, and takes queries of its own model only."""

    index: VectorIndex
    golden: Golden
    version: str  # fingerprint of the artefact
    model: str
    checkpoint: str

    @classmethod
    def load(cls, artefact: Artefact, threads: int = 1) -> Self:
        """Raises ArtefactError when golden queries are missing or answered otherwise."""
        index, golden = VectorIndex.load(artefact.path, threads), Golden.load(artefact.path)
        golden.check(index, artefact.path)
        return cls(index, golden, artefact.fingerprint, artefact.meta["model"], artefact.meta["checkpoint"])

    def search(self, queries: Queries, k: int, *, allowed: np.ndarray | None = None) -> Hits:
        """As VectorIndex.search. Raises ValueError naming both models for queries of another one."""
        require(
            queries.model == self.model,
            f"the queries were encoded by model {queries.model}, the index holds vectors of model {self.model}; "
            "encode them with the checkpoint that the index was made for",
        )
        return self.index.search(queries.vectors, k, allowed=allowed)


def kept_rows(index: VectorIndex, places: np.ndarray) -> np.ndarray:
    """[m, D] vectors at these places as the index keeps them, without what it adds to them by itself."""
    return index.engine.rows(places)[:, : index.dim]


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[n] float64 of rows [n, D]; 1 where both are zero."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    scale = np.sqrt(np.einsum("nd,nd->n", a, a) * np.einsum("nd,nd->n", b, b))
    return np.where(scale > 0, np.einsum("nd,nd->n", a, b) / np.maximum(scale, 1e-300), (a == b).all(1))


def _strange(where: Path, row: int, what: str) -> ArtefactError:
    return ArtefactError(
        f"{where}: golden query {row} is answered otherwise than when the index was built ({what}): the files or the "
        "code that reads them changed; build the index again with jobs.index"
    )
