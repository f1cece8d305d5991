"""A new index is loaded beside the old one, asked its golden queries, and takes over in one stroke."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from recsys.artefact import Artefact, ArtefactError
from recsys.funnel.parts import Parts
from recsys.index.build import load_index
from recsys.index.versions import Versions
from recsys.value import require
from serve.recall import watched_funnel

if TYPE_CHECKING:
    from serve.service import Service

log = logging.getLogger(__name__)


class IndexWatch:
    """Follows the pointer of an index's versions for one service.

    A version that is damaged, answers its golden queries otherwise or belongs to another model is refused: what is
    served stays, and the version isn't tried again. Batches that run keep the index that they began with.
    """

    def __init__(self, service: Service, parts: Parts, versions: Versions, held: str) -> None:
        self._service, self._parts, self._versions = service, parts, versions
        self.held = held  # name of the version that is served
        self.refused: str | None = None
        self._policy = service.funnel.policy
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self) -> bool:
        """Look once; True when another version is served now."""
        name = self._versions.current()
        if name is None or name in (self.held, self.refused):
            return False
        try:
            name, artefact = self._versions.open()
            parts = self._fitting(artefact)
            self._service.swap(
                *watched_funnel(parts, self._service.spec.funnel, self._policy, self._service.spec.recall)
            )
        except (RuntimeError, ValueError, OSError) as error:  # an ArtefactError is a RuntimeError, as faiss's own are
            if self._versions.current() != name:  # pruned while it was read
                return False
            log.error("index version %s is refused, %s stays: %s", name, self.held, error)
            self.refused = name
            self._service.metrics.refused.inc()
            return False
        log.warning("index version %s is served, after %s", name, self.held)
        self.held, self.refused, self._parts = name, None, parts  # the old index goes when its last batch ends
        return True

    def follow(self, every_s: float) -> None:
        """Look every so many seconds, in a thread of its own, until `close`."""
        self._thread = threading.Thread(target=self._run, args=(every_s,), name="index-watch", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread is None or self._thread.is_alive()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _run(self, every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                self.check()
            except (ArtefactError, OSError) as error:  # the store can't be reached, or the pointer isn't one
                log.error("the versions of the index can't be read: %s", error)

    def _fitting(self, artefact: Artefact) -> Parts:
        """The parts that are served, with this index instead of theirs."""
        parts = self._parts
        sealed = load_index(artefact, parts.versions["checkpoint"], parts.versions["model"])
        most = int(sealed.index.ids.max(initial=0))
        require(
            most < parts.dataset.num_items,
            f"{artefact.path} holds item {most}, the data set that is served has {parts.dataset.num_items} items; "
            "publish a whole run for new items",
        )
        return replace(parts, sealed=sealed, versions={**parts.versions, "index": artefact.fingerprint})
