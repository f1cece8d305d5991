"""A detector names a cause from what a practitioner really has, or says which experiment would."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from recsys.value import require

HEALTHY, ABSTAIN = "healthy", "abstain"


class Part:
    """One kind of evidence: a frozen dataclass of arrays, numbers and names that a user could fill by hand.

    No callables and nothing of a world: a detector that needs an intervention (a probe refitted, an index replayed) is
    given the intervention's measured outcome.
    """


P = TypeVar("P", bound=Part)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is of a system, at most one part of each kind."""

    parts: Mapping[type[Part], Part]

    @classmethod
    def of(cls, *parts: Part) -> Evidence:
        kinds = [type(part).__name__ for part in parts]
        require(len(set(kinds)) == len(kinds), f"at most one part of a kind, got {kinds}")
        return cls({type(part): part for part in parts})

    def __contains__(self, kind: type[Part]) -> bool:
        return kind in self.parts

    def get(self, kind: type[P]) -> P:
        """The part of this kind; raises ValueError where there is none."""
        require(kind in self.parts, f"no {kind.__name__} in this evidence; there is {sorted(map(str, self.parts))}")
        held = self.parts[kind]
        assert isinstance(held, kind)
        return held

    def find(self, kind: type[P]) -> P | None:
        return self.get(kind) if kind in self.parts else None


@dataclass(frozen=True, slots=True)
class Row:
    """A measured signal beside the threshold that it was held against."""

    signal: str
    value: float
    threshold: float | None = None
    tells: str = ""  # what the value speaks for or against

    def to_json(self) -> dict[str, Any]:
        return {"signal": self.signal, "value": self.value, "threshold": self.threshold, "tells": self.tells}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The named cause, how strongly each cause was supported, and the measured rows behind it."""

    cause: str  # "healthy", "abstain" or the cause's name
    scores: Mapping[str, float]
    evidence: tuple[Row, ...]
    next_experiment: str | None = None  # demanded when it abstains
    rejected: Mapping[str, str] = field(default_factory=dict)  # rival -> why it isn't that

    def __post_init__(self) -> None:
        require(self.cause != ABSTAIN or bool(self.next_experiment), "who abstains names the experiment that decides")

    def to_json(self) -> dict[str, Any]:
        return {
            "cause": self.cause,
            "scores": {name: float(score) for name, score in self.scores.items()},
            "rows": [row.to_json() for row in self.evidence],
            "next_experiment": self.next_experiment,
            "rejected": dict(self.rejected),
        }


class Detector(Protocol):
    """A frozen value: thresholds are its fields, each with a derivation in the docstring."""

    needs: ClassVar[tuple[type[Part], ...]]  # kinds of evidence without which it can't say anything
    causes: ClassVar[tuple[str, ...]]  # every cause that it can name, "healthy" aside

    def __call__(self, evidence: Evidence) -> Diagnosis: ...


def runnable(detector: Detector, evidence: Evidence) -> bool:
    """Whether all that the detector needs is there."""
    return all(kind in evidence for kind in detector.needs)


def missing(detector: Detector, evidence: Evidence) -> list[str]:
    """Names of the kinds of evidence that the detector needs and that aren't there."""
    return [kind.__name__ for kind in detector.needs if kind not in evidence]


def strongest(scores: Mapping[str, float], order: Iterable[str] = ()) -> str:
    """The cause of highest score, the earlier in `order` of equals; "healthy" where none is above 0."""
    ranked = [*order, *(name for name in scores if name not in set(order))]
    best = max(ranked, key=lambda name: scores.get(name, 0.0), default=HEALTHY)
    return best if scores.get(best, 0.0) > 0 else HEALTHY
