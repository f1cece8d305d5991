"""Why ranking got worse when retrieval got better: five places, looked at in the order in which they explain each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from recsys.calibrate.scores import population_stability
from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row, strongest
from recsys.diagnose.stages import COARSE_INDEX, IndexAudit, ScoreAudit, StageSwap, best_of, stale_share
from recsys.value import value

NEXT = (
    "replay logged queries through old and new retriever with the old ranker, then with the score mapped onto its training "
    "distribution, with a ranker retrained on the new candidates, and over an exact index of fresh vectors"
)


@value
class MisalignmentDetector:
    """The stage at which a two-stage system came apart.

    Vectors re-encoded by the same checkpoint agree to rounding, so `tolerance` (of the cosine) only has to be above that of
    half precision, 0.001, and below what any training moves; `few` and `most` tell a mixed index from a stale one.
    `fidelity` is the recall to which indexes are built. `shift` is the population stability index that scorecards call
    a shift; it is large after any fine-tuning and convicts only together with an exchange that helps. Exchanges are
    paired by query and count where they clear `errors` standard errors and `worth`, the share of the old system's
    score that a retrained ranker reaches by chance on sound systems, seen on development seeds, doubled.
    """

    tolerance: float = 0.005
    few: float = 0.02
    most: float = 0.9
    fidelity: float = 0.9
    shift: float = 0.25
    errors: float = 3.0
    worth: float = 0.05
    needs: ClassVar[tuple[type[Part], ...]] = (IndexAudit,)
    causes: ClassVar[tuple[str, ...]] = (
        "stale_index", "mixed_index", COARSE_INDEX, "candidate_shift", "score_contract", "objective",
    )  # fmt: skip

    def __call__(self, evidence: Evidence) -> Diagnosis:
        signs = Signs.of(evidence, self.tolerance)
        scores = self._scores(signs)
        cause, rows = strongest(scores, self.causes), self._rows(signs)
        if cause == HEALTHY and not signs.swapped:
            return Diagnosis(ABSTAIN, scores, rows, next_experiment=NEXT)
        why = self._reasons(signs)
        return Diagnosis(cause, scores, rows, rejected={name: why[name] for name in self.causes if scores[name] <= 0})

    def _scores(self, signs: Signs) -> Mapping[str, float]:
        return {
            "stale_index": float(signs.stale > self.most),
            "mixed_index": float(self.few < signs.stale <= self.most),
            COARSE_INDEX: float(signs.fidelity < self.fidelity),
            "candidate_shift": float(self._helps(signs.retrained)),
            "score_contract": float(signs.psi > self.shift and self._helps(signs.mapped)),
            "objective": float(self._helps(-signs.best)),
        }

    def _helps(self, gain: Gain) -> bool:
        return gain.errors > self.errors and gain.share > self.worth

    def _rows(self, signs: Signs) -> tuple[Row, ...]:
        rows = [
            Row(
                "share of stored vectors that aren't today's",
                signs.stale,
                self.few,
                f"above: mixed; {self.most}: stale",
            ),
            Row("recall of the index against exact search", signs.fidelity, self.fidelity, "below: too coarse"),
            Row("stability index of the ranker's score feature", signs.psi, self.shift, "above: another distribution"),
        ]
        for name, gain in (
            ("now against before", signs.now),
            ("score mapped against now", signs.mapped),
            ("ranker retrained against the better of now and mapped", signs.retrained),
            ("fresh exact index against now", signs.reindexed),
            ("best exchange against before", signs.best),
        ):
            rows.append(Row(f"{name}, standard errors", gain.errors, self.errors))
            rows.append(Row(f"{name}, share of before", gain.share, self.worth))
        return tuple(row for row in rows if not math.isnan(row.value))

    def _reasons(self, signs: Signs) -> dict[str, str]:
        index = f"{signs.stale:.1%} of the stored vectors differ from fresh ones"
        return {
            "stale_index": index,
            "mixed_index": index,
            COARSE_INDEX: f"the index finds {signs.fidelity:.1%} of the exactly nearest",
            "candidate_shift": f"a ranker retrained on the new candidates brings {signs.retrained.share:+.1%}",
            "score_contract": f"stability index {signs.psi:.2f}; the mapped score brings {signs.mapped.share:+.1%}",
            "objective": f"the best exchange lies {signs.best.share:+.1%} from the old system",
        }


@dataclass(frozen=True, slots=True)
class Gain:
    """A paired difference: in standard errors, and as a share of the old system's score."""

    errors: float = math.nan
    share: float = math.nan

    def __neg__(self) -> Gain:
        return Gain(-self.errors, -self.share)


@dataclass(frozen=True, slots=True)
class Signs:
    """All that is measured; NaN where the evidence for it isn't there, which compares false with every threshold."""

    stale: float = math.nan
    fidelity: float = math.nan
    psi: float = math.nan
    now: Gain = Gain()
    mapped: Gain = Gain()
    retrained: Gain = Gain()
    reindexed: Gain = Gain()
    best: Gain = Gain()
    swapped: bool = False

    @classmethod
    def of(cls, evidence: Evidence, tolerance: float) -> Signs:
        index, found = evidence.get(IndexAudit), {}
        if (cosines := index.cosines()) is not None:
            found["stale"] = stale_share(cosines, tolerance)
        if (fidelity := index.fidelity()) is not None:
            found["fidelity"] = fidelity
        if (scores := evidence.find(ScoreAudit)) is not None:
            found["psi"] = population_stability(scores.train, scores.live)
        if (swap := evidence.find(StageSwap)) is not None:
            found |= _of_swap(swap)
        return cls(**found)


def _of_swap(swap: StageSwap) -> dict[str, Gain | bool]:
    unit = max(float(swap.before.double().mean()), 1e-12)
    better = swap.now if swap.mapped is None or swap.mapped.sum() < swap.now.sum() else swap.mapped
    pairs = {
        "now": (swap.now, swap.before),
        "mapped": (swap.mapped, swap.now),
        "retrained": (swap.retrained, better),
        "reindexed": (swap.reindexed, swap.now),
        "best": (best_of(swap), swap.before),
    }
    gains = {
        name: Gain(swap.gain(ours, theirs), float((ours - theirs).double().mean()) / unit)
        for name, (ours, theirs) in pairs.items()
        if ours is not None
    }
    return {**gains, "swapped": True}
