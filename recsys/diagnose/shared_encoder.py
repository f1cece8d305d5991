"""Why ranking lost when retrieval joined it on one encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recsys.diagnose import tasks as names
from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row
from recsys.diagnose.tasks import GradientTrace, Interventions
from recsys.value import value

CANDIDATE_SHIFT = "candidate_shift"  # the lists became harder, the ranker didn't become worse
HEAD_UNDERTRAINED = "head_undertrained"  # the encoder holds what ranking needs, its head doesn't read it

REFITTED = "refitted"  # the ranking head trained anew on the frozen encoder


@dataclass(frozen=True)
class CandidateSwap(Part):
    """Ranking quality of the old and the new system's ranker on the lists shown before and after the change.

    All four come from logs: both rankers score the same two sets of lists.
    """

    old_on_old: float
    old_on_new: float
    new_on_old: float
    new_on_new: float

    @property
    def observed(self) -> float:
        """What the dashboard shows: after minus before."""
        return self.new_on_new - self.old_on_old

    @property
    def ranker(self) -> float:
        """What the ranker's change does to a list, mean of both sets of lists."""
        return (self.new_on_old - self.old_on_old + self.new_on_new - self.old_on_new) / 2

    @property
    def lists(self) -> float:
        """What the lists' change does to a ranker, mean of both rankers."""
        return self.observed - self.ranker


@dataclass(frozen=True)
class Negatives(Part):
    """How much of retrieval's push hits items that an independent ranker puts above the positive.

    `share` weighs each negative by its probability in the softmax, which is its share of the gradient.
    """

    share: float


@dataclass(frozen=True)
class AttributeProbe(Part):
    """R^2 of linear predictions of item attributes from item vectors: [A] for the joint model and the one that only ranks."""

    joint: np.ndarray
    ranking_alone: np.ndarray


@value
class SharedEncoderConflict:
    """Which of five things costs ranking its quality; `Interventions` are of the tasks (retrieval, ranking), in that order.

    1. The same lists under both rankers: if the drop on the dashboard is the lists' and not the ranker's, the candidates
       have shifted.
    2. Refit the ranking head on the frozen encoder: what comes back was the head's fault.
    3. Equal gradient norms: where one gradient is `ratio` times the other and that brings ranking back, magnitude.
    4. What stays lost under equal norms: a wider embedding (capacity), or only towers of their own (conflict).

    False negatives are a row and no cause: with the sampled softmax's correction they made ranking no worse in any world tried.
    An intervention explains a loss if it closes `share` of it. The thresholds were set between what cases of development
    seeds showed; `below` is that of all multi-task detectors.
    """

    below: float = names.BELOW
    share: float = 0.5
    ratio: float = 15.0
    needs: ClassVar[tuple[type[Part], ...]] = (GradientTrace, Interventions, CandidateSwap)
    causes: ClassVar[tuple[str, ...]] = (
        CANDIDATE_SHIFT,
        HEAD_UNDERTRAINED,
        names.SCALE_DOMINANCE,
        names.SHARED_CAPACITY,
        names.GRADIENT_CONFLICT,
    )

    def __call__(self, evidence: Evidence) -> Diagnosis:
        read = _Reading(evidence)
        scores, rows = self._scores(read), self._rows(read)
        cause = next((name for name in self.causes if scores[name] > 0), None)
        if cause is None and read.lost > self.below:
            return Diagnosis(ABSTAIN, scores, rows, self._wanted(read))
        said = cause or HEALTHY
        return Diagnosis(said, scores, rows, rejected={n: self._why(n, read) for n in self.causes if n != said})

    def _scores(self, read: _Reading) -> dict[str, float]:
        """The quality that each cause costs ranking, 0 where it isn't supported."""
        swap = read.swap
        shifted = -swap.observed > self.below and -swap.lists > self.share * -swap.observed and read.lost <= self.below
        lost = read.lost if read.lost > self.below else 0.0
        loud = read.ratio > self.ratio and read.closes(names.NORMALISED) >= self.share
        left = lost * (1 - max(0.0, read.closes(names.NORMALISED)))
        wide = read.closes_rest(names.WIDER) >= self.share
        return {
            CANDIDATE_SHIFT: -swap.lists if shifted else 0.0,
            HEAD_UNDERTRAINED: lost if read.closes(REFITTED) >= self.share else 0.0,
            names.SCALE_DOMINANCE: lost if loud else 0.0,
            names.SHARED_CAPACITY: left if wide else 0.0,
            names.GRADIENT_CONFLICT: left if not wide and read.closes_rest(names.SPLIT) >= self.share else 0.0,
        }

    def _rows(self, read: _Reading) -> tuple[Row, ...]:
        tried = ((name, read.closes(name)) for name in read.tried.quality if name not in (names.AS_IS, names.ALONE))
        found = [
            Row("ranking below the model that only ranks, same lists", read.lost, self.below, "above: the ranker lost"),
            Row("retrieval below the model that only retrieves", read.lost_retrieval, self.below),
            Row("change on the dashboard", read.swap.observed, -self.below),
            Row("part of it that the lists' change makes", read.swap.lists, None, "most of it: candidate shift"),
            Row("gradient norm of retrieval over ranking", read.ratio, self.ratio, "above: one loss drowns the other"),
            Row("mean cosine of the two gradients", read.cosine, 0.0, "below: they oppose each other at the moment"),
            Row("share of retrieval's push on items that a ranker prefers", read.false_share),
            *(Row(f"share of the loss that is closed by: {name}", closed, self.share) for name, closed in tried),
            Row("of what equal norms leave, closed by a wider embedding", read.closes_rest(names.WIDER), self.share),
            Row("of what equal norms leave, closed by towers of their own", read.closes_rest(names.SPLIT), self.share),
        ]
        if read.probe is not None:
            gap = float(np.mean(read.probe.ranking_alone - read.probe.joint))
            found.append(Row("R^2 of item attributes lost by the joint encoder", gap, None, "information that is gone"))
        return tuple(found)

    def _wanted(self, read: _Reading) -> str:
        missing = [n for n in (REFITTED, names.NORMALISED, names.WIDER, names.SPLIT) if n not in read.tried.quality]
        run = missing or ["twice the steps for the joint model and the one that only ranks"]
        return f"ranking is {read.lost:.3f} below the model that only ranks, and nothing tried explains it; run: {', '.join(run)}"

    def _why(self, name: str, read: _Reading) -> str:
        closed = {
            HEAD_UNDERTRAINED: REFITTED,
            names.SCALE_DOMINANCE: names.NORMALISED,
            names.SHARED_CAPACITY: names.WIDER,
            names.GRADIENT_CONFLICT: names.SPLIT,
        }
        if name == CANDIDATE_SHIFT:
            return f"of {read.swap.observed:+.3f} on the dashboard {read.swap.lists:+.3f} is the lists'"
        if name in (names.SHARED_CAPACITY, names.GRADIENT_CONFLICT):
            return f"{closed[name]} closes {read.closes_rest(closed[name]):.0%} of what equal norms leave of {read.lost:.3f}"
        return f"{closed[name]} closes {read.closes(closed[name]):.0%} of a loss of {read.lost:.3f}"


class _Reading:
    """Signals of the evidence, each one number."""

    def __init__(self, evidence: Evidence) -> None:
        self.trace, self.tried = evidence.get(GradientTrace), evidence.get(Interventions)
        self.swap, self.probe = evidence.get(CandidateSwap), evidence.find(AttributeProbe)
        negatives = evidence.find(Negatives)
        self.false_share = negatives.share if negatives else 0.0
        gap = self.tried.of(names.ALONE) - self.tried.of(names.AS_IS)
        self.lost_retrieval, self.lost = float(gap[0]), float(gap[1])

    @property
    def ratio(self) -> float:
        """Mean over the trace; 1 where the tasks share nothing."""
        known = (self.trace.norms > 0).all(axis=1)
        return float((self.trace.norms[known, 0] / self.trace.norms[known, 1]).mean()) if known.any() else 1.0

    @property
    def cosine(self) -> float:
        known = self.trace.cosines[~np.isnan(self.trace.cosines)]
        return float(known.mean()) if len(known) else float("nan")

    def closes(self, name: str) -> float:
        """Share of ranking's loss that the intervention brings back; 0 where there is none or it wasn't tried."""
        gain = float(self.tried.of(name)[1] - self.tried.of(names.AS_IS)[1])
        return gain / self.lost if self.lost > 0 and not np.isnan(gain) else 0.0

    def closes_rest(self, name: str) -> float:
        """Share of what is lost under equal norms, where those help at all, that the intervention brings back on top."""
        base = np.fmax(self.tried.of(names.NORMALISED)[1], self.tried.of(names.AS_IS)[1])
        rest = float(self.tried.of(names.ALONE)[1] - base)
        gain = float(self.tried.of(name)[1] - base)
        return gain / rest if rest > 0 and not np.isnan(gain) else 0.0
