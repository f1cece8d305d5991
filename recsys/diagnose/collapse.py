"""Why a space of item vectors is lost: six causes that look alike in the loss and apart in the shape and the trace."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row, strongest
from recsys.diagnose.embedding import EmbeddingHealth, Shape, copies
from recsys.diagnose.training import Replays, TrainingTrace, tail
from recsys.value import value

NEXT = (
    "record loss, active share and weight norm of every step, then repeat the first steps from the same start with "
    "semi-hard negatives, and once more without near duplicates under different labels, each for as long as the loss "
    "took to reach the margin"
)
SOFT = math.log(2)  # softplus of 0: the soft margin's loss when all distances are the same


@value
class CollapseDetector:
    """The cause by which item vectors became useless.

    Thresholds lie between the two groups seen on development seeds, far from both: `spread` (collapsed spaces 0 to 0.3,
    a right angle between all pairs 1.41), `at_margin` (a collapsed triplet loss is the margin to four digits), `rank`
    (a bottleneck of two gives 0.07 of the dimensions, trained towers more than 0.6), `decayed` and `grown` (weights of
    sound runs end at 0.6 to 2.3 times their start, and at 5 where they start as small as vectors of words do: growth
    convicts only while the gradient hasn't become shorter than `settled` times its start), `idle` and `busy` (active
    shares of easy triplets, and of semi-hard ones with the same weights), `copied` (a share of items with a copy that a
    clean catalogue never reached).
    `errors` is of the null that a replay is no better: three standard errors, one in 700. The effective rank alone
    doesn't see a collapse: it is free of scale.
    """

    spread: float = 0.5
    at_margin: float = 0.02
    rank: float = 0.3
    decayed: float = 0.25
    grown: float = 5.0
    settled: float = 1.0
    silent: float = 0.5
    idle: float = 0.25
    busy: float = 0.5
    copied: float = 0.01
    errors: float = 3.0
    needs: ClassVar[tuple[type[Part], ...]] = (EmbeddingHealth,)
    causes: ClassVar[tuple[str, ...]] = (
        "learning_rate", "weight_decay", "false_negatives", "hard_negatives", "low_rank", "easy_negatives",
    )  # fmt: skip

    def __call__(self, evidence: Evidence) -> Diagnosis:
        signs = Signs.of(evidence)
        scores = self._scores(signs)
        cause = strongest(scores, self.causes)
        if cause == HEALTHY and self._collapsed(signs):
            return Diagnosis(ABSTAIN, scores, self._rows(signs), next_experiment=NEXT)
        return Diagnosis(cause, scores, self._rows(signs), rejected=self._rejected(scores, cause, signs))

    def _collapsed(self, signs: Signs) -> bool:
        return signs.spread < self.spread or (abs(signs.excess) < self.at_margin and signs.active > 0.98)

    def _scores(self, signs: Signs) -> dict[str, float]:
        """Above 0 where the cause is supported; the earlier cause explains the later ones' signs."""
        lost = self._collapsed(signs)
        settled = signs.gradient < self.settled  # NaN, so unknown, isn't settled
        grown = (signs.weight > self.grown and not settled) or signs.silent > self.silent
        decayed = signs.weight < self.decayed
        free = not (grown or decayed)
        copied = signs.copied > self.copied and signs.uncopied > self.errors
        return {
            "learning_rate": float(grown),
            "weight_decay": float(decayed and lost),
            "false_negatives": float(free and copied and signs.uncopied >= signs.remined / 2),
            "hard_negatives": float(free and lost and signs.remined > self.errors),
            "low_rank": float(free and not lost and signs.rank < self.rank),
            "easy_negatives": float(free and not lost and signs.active < self.idle and signs.semihard > self.busy),
        }

    def _rows(self, signs: Signs) -> tuple[Row, ...]:
        rows = (
            Row("mean length of a vector", signs.norm),
            Row("mean distance over mean length", signs.spread, self.spread, "below: one point"),
            Row("mean cosine", signs.cosine),
            Row("effective rank over dimensions", signs.rank, self.rank, "below: few directions; blind to scale"),
            Row("loss over margin, less 1", signs.excess, self.at_margin, "within: every distance is nothing to it"),
            Row("share of anchors with a loss", signs.active, self.idle, "below: nothing left to learn from"),
            Row("the same, of semi-hard triplets", signs.semihard, self.busy, "above: but there would be"),
            Row("gradient at the end over the start", signs.gradient),
            Row("weight norm at the end over the start", signs.weight, self.decayed, "below: decay; large: the rate"),
            Row("share of silent units", signs.silent, self.silent, "above: dead"),
            Row("share of items with a copy under another label", signs.copied, self.copied, "above: false negatives"),
            Row("replay with another miner, standard errors gained", signs.remined, self.errors, "above: the miner"),
            Row("replay without copies, standard errors gained", signs.uncopied, self.errors, "above: the copies"),
        )
        return tuple(row for row in rows if not math.isnan(row.value))

    def _rejected(self, scores: Mapping[str, float], cause: str, signs: Signs) -> dict[str, str]:
        why = {
            "learning_rate": f"weights end at {signs.weight:.2g} times their start",
            "weight_decay": f"weights end at {signs.weight:.2g} times their start",
            "false_negatives": f"{signs.copied:.1%} of the items have a copy; without them {signs.uncopied:+.1f} errors",
            "hard_negatives": f"spread {signs.spread:.2f}; another miner brings {signs.remined:+.1f} standard errors",
            "low_rank": f"effective rank {signs.rank:.2f} of the dimensions, spread {signs.spread:.2f}",
            "easy_negatives": f"{signs.active:.0%} of the anchors are active",
        }
        return {name: why[name] for name in self.causes if name != cause and scores[name] <= 0}


@dataclass(frozen=True, slots=True)
class Signs:
    """All that is measured; NaN where the evidence for it isn't there, which compares false with every threshold."""

    norm: float
    spread: float
    cosine: float
    rank: float
    copied: float = math.nan
    excess: float = math.nan
    active: float = math.nan
    semihard: float = math.nan
    gradient: float = math.nan
    weight: float = math.nan
    silent: float = math.nan
    remined: float = math.nan
    uncopied: float = math.nan

    @classmethod
    def of(cls, evidence: Evidence) -> Signs:
        health = evidence.get(EmbeddingHealth)
        shape = Shape.of(health.vectors)
        found = {"norm": shape.norm, "spread": shape.spread, "cosine": shape.cosine, "rank": shape.rank}
        if health.features is not None and health.labels is not None:
            found["copied"] = float(copies(health.features, health.labels).float().mean())
        if (trace := evidence.find(TrainingTrace)) is not None:
            found |= _of_trace(trace)
        if (replays := evidence.find(Replays)) is not None:
            found |= {"remined": replays.gain(replays.other_miner), "uncopied": replays.gain(replays.without_copies)}
        return cls(**found)


def _of_trace(trace: TrainingTrace) -> dict[str, float]:
    found = {"silent": trace.silent, "semihard": trace.semihard_active}
    if trace.triplets:
        found["excess"] = tail(trace.loss) / (trace.margin or SOFT) - 1
    if trace.active is not None and trace.triplets:
        found["active"] = tail(trace.active)
    for name, series in (("gradient", trace.gradient), ("weight", trace.weight)):
        if series is not None and float(series[0]) > 0:
            found[name] = tail(series) / float(series[0])
    return {name: held for name, held in found.items() if held is not None}
