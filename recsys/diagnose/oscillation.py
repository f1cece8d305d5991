"""Which of six things makes the tasks of a shared tower swing or lose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recsys.diagnose import tasks as names
from recsys.diagnose.diagnosis import ABSTAIN, HEALTHY, Diagnosis, Evidence, Part, Row
from recsys.diagnose.tasks import GradientTrace, Interventions, TaskCurves, oscillation
from recsys.value import value


@value
class OscillationTriage:
    """Cosines of mini-batches don't separate these causes: interventions do, in the order of what they cost.

    1. Sampling: rows of a task per batch vary more than independent draws would (`dispersion`, 1 by theory for them), and
       mixing the batches calms or lifts the tasks; blocks that do neither are no cause.
    2. Learning rate: at a tenth of it no task is worse off in as many steps, and on average they gain. (That curves are
       calmer there says nothing: a slowly rising curve has steps too.)
    3. Evaluation: curves that move by no more than resampling their rows would move them say nothing. The ratio of the two
       is 1 for pure noise; `real` is its 99 % point for 20 checks of one task. And the noise must be `visible`.
    4. Magnitude: one task's gradient is `ratio` times another's from the start, and equal lengths bring back the tasks.
    5. What remains below a task's own model, though it is heard, is competition: a wider shared layer brings it back
       (capacity), or only towers of their own do (conflict, at any width).

    `below`, `gain`, `share` and `calmer` were set between what cases of development seeds showed; see the problem's notes.
    """

    real: float = 1.5
    visible: float = 0.002  # deviation of a check-to-check difference, of AUC or rank correlation, by resampling alone
    dispersion: float = 3.0
    ratio: float = 30.0
    below: float = names.BELOW
    share: float = 0.5  # of a gap that an intervention must close
    calmer: float = 0.7
    gain: float = 0.01
    needs: ClassVar[tuple[type[Part], ...]] = (GradientTrace, TaskCurves)
    causes: ClassVar[tuple[str, ...]] = (
        names.BLOCKED_BATCHES, names.LEARNING_RATE, names.EVALUATION_NOISE, names.SCALE_DOMINANCE,
        names.SHARED_CAPACITY, names.GRADIENT_CONFLICT,
    )  # fmt: skip

    def __call__(self, evidence: Evidence) -> Diagnosis:
        trace, curves = evidence.get(GradientTrace), evidence.get(TaskCurves)
        tried = evidence.find(Interventions) or Interventions(curves.tasks, {})
        read = _Reading(trace, curves, tried)
        rows, scores = self._rows(read), self._scores(read)
        cause = next((name for name in self.causes[:3] if scores[name] > 0), None) or self._loudest(scores)
        if cause is None and (wanted := self._wanted(read)):
            return Diagnosis(ABSTAIN, scores, rows, wanted)
        said = cause or HEALTHY
        return Diagnosis(said, scores, rows, rejected={n: self._why(n, read) for n in self.causes if n != said})

    def _wanted(self, read: _Reading) -> str | None:
        """The run that would decide, where a task is below its own model for no cause that was found."""
        left = read.left()
        if np.isnan(read.tried.of(names.ALONE)).all():
            return f"whether sharing costs a task anything: train each task by itself ({names.ALONE}) for as many steps"
        if left is None and read.lost() > self.below:
            return f"a task is {read.lost():.3f} below its own model: weigh losses to equal norms ({names.NORMALISED})"
        if left is not None and left > self.below:
            return (
                f"under equal gradient norms a task stays {left:.3f} below its own model: double the shared layer's width "
                f"({names.WIDER}) and give tasks towers of their own ({names.SPLIT})"
            )
        return None

    def _loudest(self, scores: dict[str, float]) -> str | None:
        """Of what costs quality, the cause that costs most."""
        best = max(self.causes[3:], key=lambda name: scores[name])
        return best if scores[best] > 0 else None

    def _scores(self, read: _Reading) -> dict[str, float]:
        """Above 0 where a cause is supported; for the last three it is the quality that the cause costs the worst-off task."""
        noisy = read.noise > self.visible and read.swing_over_noise < self.real
        mixing = read.gain(names.MIXED) > self.below or read.calm(names.MIXED) < self.calmer
        blocked = read.dispersion > self.dispersion and mixing
        fast = read.worst_change(names.SLOWER) > 0 and read.gain(names.SLOWER) > self.gain
        loud = read.ratio > self.ratio and read.lost() > self.below
        left = read.left() or 0.0
        heard = read.lost() - left if loud and read.lost() - left >= self.share * read.lost() else 0.0
        wide, split = read.closes(names.WIDER), read.closes(names.SPLIT)
        rest = left > self.below
        return {
            names.EVALUATION_NOISE: float(noisy),
            names.BLOCKED_BATCHES: float(blocked),
            names.LEARNING_RATE: float(fast),
            names.SCALE_DOMINANCE: heard,
            names.SHARED_CAPACITY: left if rest and wide >= self.share else 0.0,
            names.GRADIENT_CONFLICT: left if rest and wide < self.share <= split else 0.0,
        }

    def _rows(self, read: _Reading) -> tuple[Row, ...]:
        found = [
            Row("largest oscillation index", read.swing),
            Row("check-to-check noise of the evaluation set", read.noise, self.visible, "above: it can be seen"),
            Row(
                "swings over that noise, mean of the tasks",
                read.swing_over_noise,
                self.real,
                "below: noise explains them",
            ),
            Row("dispersion of tasks over batches", read.dispersion, self.dispersion, "above: batches of one task"),
            Row("change of the worst task at a tenth of the learning rate", read.worst_change(names.SLOWER), 0.0),
            Row(
                "mean change at a tenth of the learning rate",
                read.gain(names.SLOWER),
                self.gain,
                "above: steps too long",
            ),
            Row("oscillation with mixed batches, as a share", read.calm(names.MIXED), self.calmer),
            Row("ratio of gradient norms in early steps", read.ratio, self.ratio, "above: one task drowns the others"),
            Row(
                "share of negative cosines", read.trace_negative, None, "near a half for noise; tells nothing by itself"
            ),
            Row("worst task below its own model", read.lost(), self.below),
        ]
        if read.left() is not None:
            found.append(
                Row("the same under equal gradient norms", read.left() or 0.0, self.below, "above: they compete")
            )
            for name in (names.WIDER, names.SPLIT):
                found.append(Row(f"share of that closed by {name}", read.closes(name), self.share))
        return tuple(found)

    def _why(self, name: str, read: _Reading) -> str:
        return {
            names.EVALUATION_NOISE: f"the curves move {read.swing_over_noise:.1f} times as much as resampling would move them, "
            f"{read.swing:.4f} from check to check",
            names.BLOCKED_BATCHES: f"tasks share batches with dispersion {read.dispersion:.1f}",
            names.LEARNING_RATE: f"a tenth of the rate changes the worst task by {read.worst_change(names.SLOWER):+.3f}",
            names.SCALE_DOMINANCE: f"gradient norms differ by {read.ratio:.0f}; equal norms leave the worst-off task "
            f"{read.left() or 0.0:.3f} below its own model, from {read.lost():.3f}",
            names.SHARED_CAPACITY: f"twice the width closes {read.closes(names.WIDER):.0%} of what is left",
            names.GRADIENT_CONFLICT: f"own towers close {read.closes(names.SPLIT):.0%} of what is left, twice the width "
            f"{read.closes(names.WIDER):.0%}",
        }[name]


@dataclass(frozen=True)
class _Reading:
    """Signals of the evidence, each one number; 0 or 1 that speaks for nothing where an intervention wasn't run."""

    trace: GradientTrace
    curves: TaskCurves
    tried: Interventions

    @property
    def swing(self) -> float:
        return float(oscillation(self.curves.values).max())

    @property
    def noise(self) -> float:
        return float(self.curves.noise.max())

    @property
    def swing_over_noise(self) -> float:
        return float(np.mean(oscillation(self.curves.values) * 2**0.5 / np.maximum(self.curves.noise, 1e-12)))

    @property
    def dispersion(self) -> float:
        return self.trace.dispersion()

    @property
    def ratio(self) -> float:
        """Of the first eighth of the trace: later, a task that has converged has a short gradient by right."""
        early = self.trace.norms[: max(3, len(self.trace.norms) // 8)].mean(axis=0)
        return float(early.max() / max(float(early.min()), 1e-12))

    @property
    def trace_negative(self) -> float:
        known = self.trace.cosines[~np.isnan(self.trace.cosines)]
        return float((known < 0).mean()) if len(known) else float("nan")

    def lost(self) -> float:
        """How far the worst-off task is below its own model."""
        gap = self.tried.of(names.ALONE) - self.tried.of(names.AS_IS)
        return float(np.nanmax(gap)) if not np.isnan(gap).all() else 0.0

    def left(self) -> float | None:
        """The same with losses weighed to equal gradient norms; None where that wasn't tried."""
        gap = self.tried.of(names.ALONE) - self.tried.of(names.NORMALISED)
        return None if np.isnan(gap).all() else float(np.nanmax(gap))

    def closes(self, name: str) -> float:
        """Share of the gap left under equal norms that the intervention closes, of the task with the widest one."""
        gap = self.tried.of(names.ALONE) - self.tried.of(names.NORMALISED)
        if np.isnan(gap).all() or np.isnan(self.tried.of(name)).all() or np.nanmax(gap) <= 0:
            return 0.0
        worst = int(np.nanargmax(gap))
        return float((self.tried.of(name) - self.tried.of(names.NORMALISED))[worst] / gap[worst])

    def gain(self, name: str) -> float:
        """Mean change of the tasks' quality; 0 where it wasn't tried."""
        change = self.tried.of(name) - self.tried.of(names.AS_IS)
        return 0.0 if np.isnan(change).all() else float(np.nanmean(change))

    def worst_change(self, name: str) -> float:
        """Least favourable change of any task's quality; -1 where it wasn't tried."""
        change = self.tried.of(name) - self.tried.of(names.AS_IS)
        return -1.0 if np.isnan(change).all() else float(np.nanmin(change))

    def calm(self, name: str) -> float:
        """Oscillation after the intervention as a share of that before, mean of the tasks; 1 where unknown."""
        share = self.tried.swings(name) / np.maximum(self.tried.swings(names.AS_IS), 1e-12)
        return 1.0 if np.isnan(share).all() else float(np.nanmean(share))
