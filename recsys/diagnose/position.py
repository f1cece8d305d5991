"""Whether a ranker that learnt from clicks learnt where items stood instead of what they are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row, strongest
from recsys.diagnose.slate_signals import Signal, disagreement, looks, lost, missing_carts, old_ranker, turned
from recsys.diagnose.slates import DebiasedCurve, LoggedSlates
from recsys.propensity.clicks import click_rates
from recsys.propensity.weights import effective_share, inverse
from recsys.value import value

POSITION, SHIFT, DELAY, MISMATCH = "position_bias", "distribution_shift", "label_delay", "objective_mismatch"
FLOOR = 0.02  # of propensities


@dataclass(frozen=True, slots=True)
class _Test:
    cause: str
    row: Row
    score: float  # effect over threshold where it is beyond chance, else 0


@value
class PositionBiasAudit:
    """Four tests, each of one cause, each where chance decided the place or a regression holds it fixed.

    Position bias: in lists shown in random order, an unbiased score leaves nothing for the old ranker's score to say
    about clicks; a negative coefficient of the old score beside the model's is worth that was learnt from places.
    `turn` bounds one less the cosine between the model's score and the mixture that the clicks prefer. It needs looks
    that fall with the place, two standard errors above none, in the same lists.
    Distribution shift: `drop` bounds the share that the score's coefficient for clicks loses from held-out lists to
    later ones. Label delay: `late` bounds the share of carts per click missing from the last `fresh` share of lists,
    against the lists just before. Objective mismatch: `apart` bounds one less the cosine between what draws clicks at
    a fixed place and what turns clicks into carts.

    Bounds are midpoints between healthy and faulty worlds on development seeds; each effect must besides be `z`
    standard errors from none, a one-sided chance of one in a thousand. How good the old ranker was doesn't decide
    the cause but the remedy: `good` is how much steeper click rates fall in its lists than in random ones.
    """

    turn: float = 0.04
    drop: float = 0.3
    late: float = 0.25
    apart: float = 0.25
    z: float = 3.1
    fresh: float = 0.05
    fewest: int = 50  # randomised lists
    good: float = 0.25
    needs: ClassVar[tuple[type[Part], ...]] = (LoggedSlates,)
    causes: ClassVar[tuple[str, ...]] = (POSITION, SHIFT, DELAY, MISMATCH)

    def __call__(self, evidence: Evidence) -> Diagnosis:
        slates = evidence.get(LoggedSlates)
        old, explained = old_ranker(slates, ~_randomised(slates))
        position = self._position(slates, old if slates.logged_score is None else slates.logged_score)
        tests = [test for test in (position, self._shift(slates), self._delay(slates), self._mismatch(slates)) if test]
        scores = {test.cause: test.score for test in tests}
        cause = strongest(scores, self.causes)
        rows = (*(test.row for test in tests), *self._remedy(slates, explained), *_divergence(evidence))
        rejected = {test.cause: f"{test.row.signal} is {test.row.value:.2g}" for test in tests if test.score == 0}
        if cause == HEALTHY and position is None:
            ask = f"show at least {self.fewest} lists in random order (or swap neighbours at random) and log which"
            return Diagnosis(ABSTAIN, scores, rows, ask, rejected)
        return Diagnosis(cause, scores, rows, None, rejected)

    def _position(self, slates: LoggedSlates, old: Tensor) -> _Test | None:
        rows = _randomised(slates) & _before(slates)
        if int(rows.sum()) < self.fewest:
            return None
        looked = looks(slates, rows)
        if looked.z < 2:
            row = Row("eta: looks fall as place^-eta in randomised lists", looked.effect, None, "places don't matter")
            return _Test(POSITION, row, 0.0)
        said = f"worth learnt from places; looks fall as place^-{looked.effect:.2f}"
        return self._test(
            POSITION, "turn of the score towards the old ranker", turned(slates, rows, old), self.turn, said
        )

    def _shift(self, slates: LoggedSlates) -> _Test | None:
        before, after = _compared(slates)
        if before is None or after is None or not bool(before.any()) or not bool(after.any()):
            return None
        return self._test(
            SHIFT, "share of the score's effect lost in later lists", lost(slates, before, after), self.drop
        )

    def _delay(self, slates: LoggedSlates) -> _Test | None:
        if slates.cart is None or slates.day is None:
            return None
        return self._test(
            DELAY, "share of carts per click missing from the last lists", missing_carts(slates, self.fresh), self.late
        )

    def _mismatch(self, slates: LoggedSlates) -> _Test | None:
        if slates.cart is None or slates.features.shape[2] < 2:
            return None
        return self._test(
            MISMATCH,
            "disagreement of clicks and carts about features",
            disagreement(slates, _before(slates)),
            self.apart,
        )

    def _test(self, cause: str, name: str, signal: Signal, bound: float, said: str = "") -> _Test:
        found = signal.effect > bound and signal.z > self.z
        row = Row(name, signal.effect, bound, f"{said or cause} ({signal.z:.1f} standard errors)" if found else "")
        return _Test(cause, row, signal.effect / bound if found else 0.0)

    def _remedy(self, slates: LoggedSlates, explained: float) -> list[Row]:
        rows = [Row("R^2 of logged places from features", explained, None, "how far places can be learnt at all")]
        drawn, ranked = _randomised(slates), ~_randomised(slates)
        if int(drawn.sum()) < self.fewest or not bool(ranked.any()):
            return rows
        num = int(slates.position.max())
        weight = inverse(click_rates(slates.click[drawn], slates.position[drawn], num), FLOOR)
        share = effective_share(weight[slates.position[ranked][slates.click[ranked] > 0] - 1])
        steeper = looks(slates, ranked).effect - looks(slates, drawn).effect
        good = "a good one: position as a feature or a place tower; click rates by place aren't propensities"
        return [
            *rows,
            Row(
                "effective share of inversely weighted clicks",
                share,
                None,
                "the rest is the variance that weights cost",
            ),
            Row(
                "eta of the old ranker's lists over that of random ones",
                steeper,
                self.good,
                good if steeper > self.good else "a weak one: weights",
            ),
        ]


def _randomised(slates: LoggedSlates) -> Tensor:
    return torch.zeros(len(slates.position), dtype=torch.bool) if slates.randomised is None else slates.randomised


def _before(slates: LoggedSlates) -> Tensor:
    return torch.ones(len(slates.position), dtype=torch.bool) if slates.period is None else slates.period < 2


def _compared(slates: LoggedSlates) -> tuple[Tensor | None, Tensor | None]:
    """Lists before and after: held out and later ones, or the halves of the log by time."""
    if slates.period is not None:
        return slates.period == 1, slates.period == 2
    if slates.day is None:
        return None, None
    late = slates.day > slates.day.median()
    return ~late, late


def _divergence(evidence: Evidence) -> list[Row]:
    """Slope of the clicks' curve times minus that of the debiased one, both by check: positive where they part."""
    curve = evidence.find(DebiasedCurve)
    if curve is None or len(curve.clicks) < 3:
        return []
    step = torch.arange(len(curve.clicks), dtype=torch.float64)
    step = (step - step.mean()) / (step - step.mean()).square().sum()
    up, down = (float(step @ torch.tensor(held, dtype=torch.float64)) for held in (curve.clicks, curve.debiased))
    return [Row("slopes of click NDCG and of its debiased twin part", -up * down, 0.0, "position bias where positive")]
