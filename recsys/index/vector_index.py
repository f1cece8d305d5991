"""The items nearest to a query are found by an engine; which of them may be found, and under which id, is said here."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys.index.caps import Capped, checked_caps
from recsys.index.catalogue import Catalogue
from recsys.index.checks import checked_ids, checked_mask, checked_vectors
from recsys.index.engine import Engine
from recsys.index.engines import EngineName, engine_name
from recsys.index.exact import Hits
from recsys.index.ids import Ids
from recsys.index.journal import Change, Journal
from recsys.index.layout import emptied, read_layout, write_layout
from recsys.index.recent import Recent
from recsys.index.spec import IndexSpec, Metric
from recsys.index.stored import Stored
from recsys.index.traits import Traits
from recsys.value import require

__all__ = ["IndexSpec", "Traits", "VectorIndex", "checked_vectors"]

COMPACT_SHARE = 0.01  # of the items laid out: with more changes than that, compaction pays


class VectorIndex:
    """A searchable set of vectors with the item id of each, which takes changes while it is searched."""

    def __init__(
        self, engine: Engine, ids: np.ndarray, metric: Metric = "cosine", traits: Traits | None = None
    ) -> None:
        """An index of what an engine holds already; with a prior, the last dimension of its vectors must be it."""
        self._begin(Stored(engine, Ids.of(ids), metric, (traits or Traits()).checked(len(ids))))

    @classmethod
    def of(cls, stored: Stored, spec: IndexSpec | None = None, recent: Recent | None = None) -> VectorIndex:
        """An index of what is laid out; without a spec it can't be compacted by itself."""
        index = cls.__new__(cls)
        index._begin(stored, spec, recent)
        return index

    def _begin(self, stored: Stored, spec: IndexSpec | None = None, recent: Recent | None = None) -> None:
        self.spec = spec  # None: laid out elsewhere, so that it can't be compacted here
        changes = Recent.none(stored.dim, stored.traits) if recent is None else recent
        self._catalogue = Catalogue(stored, changes)
        self._journal: Journal | None = None
        self._position = 0  # of the last change in force, in the journal
        self._writing = threading.RLock()

    @classmethod
    def build(
        cls,
        vectors: np.ndarray,
        ids: np.ndarray | None,
        spec: IndexSpec,
        queries: np.ndarray | None = None,
        traits: Traits | None = None,
    ) -> VectorIndex:
        """Index `vectors` [n, D] float32 under `ids` [n] (default 0..n-1).

        `queries` [Q, D] are used to choose the number of probes when the spec leaves it open. Raises ValueError for
        vectors that the spec's metric can't take, other dtypes and ids that are negative or given twice.
        """
        vectors = checked_vectors(vectors, "vectors", spec.metric)
        ids = checked_ids(np.arange(len(vectors)) if ids is None else ids, len(vectors))
        if queries is not None:
            queries = checked_vectors(queries, "queries", spec.metric)
        return cls.of(Stored.build(vectors, ids, spec, queries, (traits or Traits()).checked(len(vectors))), spec)

    def save(self, folder: Path) -> None:
        """Write the index with all changes in force into a folder, made where it's missing; layout.json is the last file.

        A folder that holds an index already is emptied first; `recsys.artefact.committing` replaces one in one stroke.
        """
        with self._writing:
            catalogue, position = self._catalogue, self._position
        emptied(folder)
        layout = catalogue.stored.save(folder)
        catalogue.recent.save(folder)
        spec = None if self.spec is None else asdict(self.spec)
        write_layout(folder, {**layout, "spec": spec, "journal": position})

    @classmethod
    def load(cls, folder: str | Path, threads: int = 1, journal: Path | None = None) -> VectorIndex:
        """Read what `save` wrote; the files' checksums are the artefact's business and must have been verified.

        With a `journal`, a local folder, changes are written there before they count, and those made since the index
        was saved are made again now.
        """
        folder = Path(folder)
        layout = read_layout(folder)
        spec = None if layout.get("spec") is None else replace(IndexSpec(**layout["spec"]), threads=threads)
        index = cls.of(Stored.load(folder, layout, threads), spec, Recent.load(folder))
        index._position = layout.get("journal", 0)
        if journal is not None:
            held = Journal(journal)
            for number, change in held.since(index._position):
                index._change(change)
                index._position = number
            index._journal = held
        return index

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the index is made of and what changed since, as plain values."""
        catalogue = self._catalogue
        changed = {"recent": len(catalogue.recent), "dead": len(catalogue.recent.dead), "in_force": len(catalogue)}
        return catalogue.stored.described() | changed | {"needs_compaction": self.needs_compaction}

    def __len__(self) -> int:
        return len(self._catalogue)

    @property
    def ids(self) -> np.ndarray:
        """[items] int64 of the items in force."""
        return self._catalogue.ids

    @property
    def changes(self) -> Catalogue:
        """What is laid out and what changed since, as of now."""
        return self._catalogue

    @property
    def engine(self) -> Engine:
        return self._catalogue.stored.engine

    @property
    def metric(self) -> Metric:
        return self._catalogue.stored.metric

    @property
    def dim(self) -> int:
        return self._catalogue.stored.dim

    @property
    def kind(self) -> EngineName:
        return engine_name(self.engine)

    @property
    def lists(self) -> int:
        return self.engine.lists

    @property
    def probes(self) -> int:
        return self.engine.probes

    @property
    def products_a_query(self) -> float:
        """Inner products that one search takes: of the lists' centres, and of the items in the lists visited."""
        size = len(self.engine)
        return float(size) if self.lists == 1 else self.lists + size * self.probes / self.lists

    def cells(self, vectors: np.ndarray) -> np.ndarray:
        """[n] int64 inverted list that each vector [n, D] belongs to; 0 of an index without lists."""
        vectors = checked_vectors(vectors, "vectors", self.metric)
        missing = self.engine.dim - vectors.shape[1]
        return self.engine.cells(np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors)

    def sample(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids [m] of at most `count` items in force, and their vectors [m, D] as they are kept."""
        return self._catalogue.sample(count)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        allowed: np.ndarray | None = None,
        prior_weight: float = 0.0,
        caps: Mapping[str, int] | None = None,
    ) -> Hits:
        """The k best allowed items of each query [B, D], best first, by score + prior_weight * prior.

        `allowed` is a mask over item ids, one for all queries [V] or one for each [B, V]; ids beyond it are not
        allowed. Exactly min(k, allowed items) are found for each query. `caps`, {group: most}, bounds how many of a
        group an answer holds; an answer is then short only when the groups that have room have run out. Raises
        ValueError for queries that the metric can't take, k below 1, a negative weight, and a prior or group that the
        index doesn't hold.
        """
        catalogue = self._catalogue  # what is in force now; changes made meanwhile are the next search's
        queries = self._checked_queries(queries, catalogue)
        require(k >= 1, f"k must be at least 1, got {k}")
        require(0 <= prior_weight < np.inf, f"prior_weight must be 0 or more, got {prior_weight}")
        require(
            prior_weight == 0 or catalogue.stored.traits.prior is not None,
            "the index holds no prior to give a weight: build it with Traits(prior=...)",
        )
        mask = catalogue.visible(None if allowed is None else checked_mask(allowed, len(queries)))

        def nearest(rows: np.ndarray, depth: int, chosen: np.ndarray | None, deeper: float = 1.0) -> Hits:
            if chosen is None or chosen.ndim == 1:
                return catalogue.nearest(queries[rows], depth, chosen, prior_weight, deeper)
            each = [
                catalogue.nearest(queries[[row]], depth, own, prior_weight, deeper)
                for row, own in zip(rows, chosen, strict=True)
            ]
            return Hits.stack(each, max((hits.ids.shape[1] for hits in each), default=0))

        if caps:
            limits = checked_caps(caps, catalogue.stored.traits.groups)
            hits = Capped(catalogue, limits, nearest)(len(queries), k, mask)
        else:
            hits = nearest(np.arange(len(queries)), k, mask)
        return Hits(ids=catalogue.at(hits.ids), scores=hits.scores)

    def add(self, vectors: np.ndarray, ids: np.ndarray, traits: Traits | None = None) -> None:
        """Add items, or give known ones other vectors and traits; the very next search sees them.

        Raises ValueError as `build` does, and when the traits aren't those that the index holds.
        """
        stored = self._catalogue.stored
        vectors = checked_vectors(vectors, "vectors", self.metric)
        require(vectors.shape[1] == self.dim, f"vectors have {vectors.shape[1]} dimensions, the index has {self.dim}")
        ids = checked_ids(ids, len(vectors))
        traits = (traits or Traits()).checked(len(vectors))
        stored.traits.take(np.zeros(0, dtype=np.int64)).joined(traits)  # both have the same columns
        self._record(Change(ids, vectors, traits))

    def delete(self, ids: np.ndarray) -> None:
        """Take items out; the very next search doesn't find them. Raises ValueError for an id that isn't held."""
        ids = checked_ids(ids, len(ids))
        with self._writing:
            missing = ids[~self._held(ids)]
            require(not len(missing), f"id {missing[:1]} isn't in the index, {len(missing)} of {len(ids)} aren't")
            self._record(Change(ids))

    @property
    def needs_compaction(self) -> bool:
        """Whether more than a hundredth of the items laid out have changed since: every search then scans them all."""
        recent = self._catalogue.recent
        return len(recent) + len(recent.dead) > COMPACT_SHARE * len(self._catalogue.stored)

    def compact(self, queries: np.ndarray | None = None) -> None:
        """Lay the items in force out anew: the index is then what `build` makes of them in order of id.

        The spec is that of the build; probes that it leaves open stay as they are, or are chosen with `queries`
        [Q, D]. Searches go on meanwhile, changes wait. Raises ValueError for an index that wasn't built here, whose
        vectors aren't held as they were given.
        """
        require(
            self.spec is not None,
            f"a {self.kind} index keeps codes, not vectors: build it again with jobs.index changes=",
        )
        with self._writing:
            spec = self.spec or IndexSpec()
            vectors, ids, traits = self._catalogue.whole()
            fixed = spec if queries is not None or self.lists == 1 else replace(spec, probes=spec.probes or self.probes)
            stored = VectorIndex.build(vectors, ids, fixed, queries, traits)._catalogue.stored
            self._catalogue = Catalogue(stored, Recent.none(stored.dim, stored.traits))

    def forget_journal(self, folder: Path) -> None:
        """Drop the changes that the index saved in this folder holds already."""
        require(self._journal is not None, "the index has no journal: load it with one")
        if self._journal is not None:
            self._journal.forget(read_layout(folder)["journal"])

    def _checked_queries(self, queries: np.ndarray, catalogue: Catalogue) -> np.ndarray:
        queries, dim = checked_vectors(queries, "queries", self.metric), catalogue.stored.dim
        require(queries.shape[1] == dim, f"queries have {queries.shape[1]} dimensions, the index has {dim}")
        return queries

    def _record(self, change: Change) -> None:
        with self._writing:
            before = self.needs_compaction
            if self._journal is not None:
                self._position = self._journal.append(change)
            self._change(change)
        if self.needs_compaction and not before:
            recent = self._catalogue.recent
            warnings.warn(
                f"{len(recent)} added and {len(recent.dead)} dead items beside {len(self._catalogue.stored)}: "
                "every search scans them; call compact()",
                stacklevel=3,
            )

    def _change(self, change: Change) -> None:
        catalogue = self._catalogue
        places = catalogue.stored.ids.places(change.ids)
        dead, recent = places[places >= 0], catalogue.recent
        if change.vectors is None:
            recent = recent.deleted(change.ids, dead)
        else:
            recent = recent.added(change.ids, change.vectors, change.traits, dead)
        self._catalogue = Catalogue(catalogue.stored, recent)

    def _held(self, ids: np.ndarray) -> np.ndarray:
        catalogue = self._catalogue
        places = catalogue.stored.ids.places(ids)
        laid_out = (places >= 0) & ~np.isin(places, catalogue.recent.dead)
        return laid_out | np.isin(ids, catalogue.recent.ids)
