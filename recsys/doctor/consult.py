"""Every detector whose evidence is there says what it sees; the others say what they would need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Detector, Diagnosis, Evidence, missing, runnable

ORDER = {"named": 0, "abstains": 1, "healthy": 2, "failed": 3, "no evidence": 4}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one detector came to; `diagnosis` is None where evidence is missing or couldn't be read."""

    detector: str
    page: str  # where the problem's story, remedies and recipe stand
    title: str
    diagnosis: Diagnosis | None
    missing: tuple[str, ...] = ()
    error: str | None = None

    @property
    def state(self) -> str:
        """named, abstains, healthy, failed, or no evidence."""
        if self.diagnosis is None:
            return "failed" if self.error else "no evidence"
        return {HEALTHY: "healthy", ABSTAIN: "abstains"}.get(self.diagnosis.cause, "named")

    def to_json(self) -> dict[str, Any]:
        return {
            "detector": self.detector, "page": self.page, "title": self.title, "state": self.state,
            "missing": list(self.missing), "error": self.error,
            "diagnosis": self.diagnosis.to_json() if self.diagnosis else None,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Consultant:
    """A detector with the page that explains what it finds."""

    detector: Detector
    page: str
    title: str


def consult(consultants: Mapping[str, Consultant], evidence: Evidence) -> list[Finding]:
    """One finding for each problem id, those that name a cause first."""
    found = [_ask(id, held, evidence) for id, held in consultants.items()]
    return sorted(found, key=lambda finding: ORDER[finding.state])


def _ask(id: str, held: Consultant, evidence: Evidence) -> Finding:
    name = f"{id} {type(held.detector).__name__}"
    if not runnable(held.detector, evidence):
        return Finding(name, held.page, held.title, None, tuple(missing(held.detector, evidence)))
    try:
        return Finding(name, held.page, held.title, held.detector(evidence))
    except (ValueError, RuntimeError, IndexError) as error:  # a user's own evidence; the other detectors go on
        return Finding(name, held.page, held.title, None, error=f"{type(error).__name__}: {error}")
