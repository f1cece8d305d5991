"""An index that keeps codes is compacted by building it again, from its vectors without those that went, and those that came."""

from __future__ import annotations

import numpy as np

from recsys.fingerprint import array_sha256, fingerprint_of
from recsys.index.compressed import CompressedEngine
from recsys.index.source import Source
from recsys.index.spec import Metric
from recsys.index.traits import Traits
from recsys.index.vector_index import VectorIndex
from recsys.value import require


class InForce:
    """The rows of a source that are still in force in an index of it, in their order, and then the items added since."""

    half = None  # no file has these rows in this order

    def __init__(self, source: Source, index: VectorIndex) -> None:
        """Raises ValueError for an index that wasn't laid out from this source."""
        catalogue = index.changes
        engine = catalogue.stored.engine
        require(isinstance(engine, CompressedEngine), f"a {index.kind} index compacts itself: call compact()")
        assert isinstance(engine, CompressedEngine)
        require(
            (len(engine), index.dim, index.metric) == (len(source), source.dim, source.metric),
            f"the index was laid out from {len(engine)} vectors of {index.dim} ({index.metric}), "
            f"given are {len(source)} of {source.dim} ({source.metric})",
        )
        self._source, self._engine, self._stored = source, engine, catalogue.stored
        self._recent = catalogue.recent
        self._gone = np.sort(engine.order[self._recent.dead].astype(np.int64))
        self.metric: Metric = source.metric
        self.dim, self.origin = source.dim, source.origin
        changed = (array_sha256(self._gone), array_sha256(self._recent.ids), array_sha256(self._recent.vectors))
        self.fingerprint = fingerprint_of("in force", source.fingerprint, *changed)

    def __len__(self) -> int:
        return self._kept + len(self._recent)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        stop = min(stop, len(self))
        late = slice(max(0, start - self._kept), max(0, stop - self._kept))
        ids, vectors = self._recent.ids[late], self._recent.vectors[late]
        if start >= self._kept:
            return ids, vectors
        first, last = self._row(start), self._row(min(stop, self._kept) - 1) + 1
        early_ids, early = self._source.read(first, last)
        stays = np.isin(np.arange(first, last), self._gone, invert=True)
        return np.concatenate([early_ids[stays], ids]), np.concatenate([early[stays], vectors])

    def traits(self) -> Traits:
        """Of every row, as `read` orders them."""
        if not self._stored.traits.columns():
            return Traits()
        places = np.empty(len(self._engine), np.int64)
        places[self._engine.order] = np.arange(len(places))
        return self._stored.traits.take(np.delete(places, self._gone)).joined(self._recent.traits)

    @property
    def _kept(self) -> int:
        return len(self._source) - len(self._gone)

    def _row(self, at: int) -> int:
        """The source's row that is the at-th of those kept."""
        return at + int(np.searchsorted(self._gone - np.arange(len(self._gone)), at, side="right"))
