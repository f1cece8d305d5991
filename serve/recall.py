"""What the index misses of real queries, as metrics and as evidence for the doctor."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from recsys.diagnose.diagnosis import Evidence
from recsys.diagnose.files import save_evidence
from recsys.diagnose.stages import IndexAudit
from recsys.funnel.funnel import Funnel
from recsys.funnel.parts import Parts
from recsys.funnel.policy import Policy
from recsys.funnel.request import FunnelSpec
from recsys.index.online_recall import OnlineRecall, RecallSpec
from recsys.storage import moved_aside, staging_beside, write_file

FIGURES, EVIDENCE = "online_recall.json", "evidence"
EVERY = 100  # replayed queries between two writings


def watched_funnel(parts: Parts, spec: FunnelSpec, policy: Policy, recall: RecallSpec) -> tuple[Funnel, OnlineRecall]:
    """A warm funnel and the watch over its index; what warms it up isn't watched."""
    watch = OnlineRecall(parts.sealed, parts.vectors, parts.groups, recall)
    funnel = Funnel(parts, spec, policy, watch.offer)
    with watch.aside():
        funnel.warm_up()
    watch.start(Reporter(watch, parts.versions["index"]))
    return funnel, watch


class Reporter:
    """Writes figures and evidence of one index now and then, and when its watch ends."""

    def __init__(self, recall: OnlineRecall, version: str) -> None:
        self._recall, self._version, self._calls = recall, version, 0

    def __call__(self, last: bool) -> None:
        if last or self._calls % EVERY == 0:
            self.write()
        self._calls += 1

    def write(self) -> None:
        """<out>/online_recall.json and <out>/evidence, which `jobs.doctor evidence=` reads."""
        if self._recall.spec.out is None:
            return
        folder = Path(self._recall.spec.out)
        figures = {"index": self._version, **asdict(self._recall.figures())}
        write_file(folder / FIGURES, (json.dumps(figures, indent=1) + "\n").encode())
        stored, fresh = map(torch.from_numpy, self._recall.audit())
        found, exact = map(torch.from_numpy, self._recall.lists())
        asked = bool(len(found))
        audit = IndexAudit(stored, fresh, found if asked else None, exact if asked else None)
        staging = staging_beside(folder / EVIDENCE)
        save_evidence(Evidence.of(audit), staging)
        old = moved_aside(folder / EVIDENCE)
        staging.replace(folder / EVIDENCE)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
