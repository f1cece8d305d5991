"""A baseline that nobody tuned proves nothing: each gets the same number of trials on validation."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from recsys.evaluate.baselines import Baseline
from recsys.evaluate.compare import Bootstrap
from recsys.evaluate.events import Events
from recsys.evaluate.fullrank import FullRanking, evaluate
from recsys.evaluate.heldout import HeldOut
from recsys.evaluate.slices import Slice
from recsys.value import require


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of knobs and what it reached on validation."""

    baseline: Baseline
    metrics: Mapping[str, float]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return {
            "baseline": type(self.baseline).__name__,
            "knobs": asdict(self.baseline),  # type: ignore[call-overload]
            "metrics": dict(self.metrics),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Tuned:
    """All trials of one method, in the order they ran."""

    trials: tuple[Trial, ...]

    def best(self, metric: str) -> Baseline:
        """The knobs of highest mean on validation, the first of equals; raises ValueError for a metric not measured."""
        require(metric in self.trials[0].metrics, f"no metric {metric!r}; measured: {sorted(self.trials[0].metrics)}")
        return max(self.trials, key=lambda trial: trial.metrics[metric]).baseline


def tune(
    grid: Sequence[Baseline], train: Events, validation: HeldOut, slices: Sequence[Slice], spec: FullRanking
) -> Tuned:
    """Fit each set of knobs on the events before validation and measure it there, keeping every metric."""
    require(bool(grid), "a grid needs at least one set of knobs")
    cheap = replace(spec, bootstrap=Bootstrap(resamples=2))
    trials = []
    for baseline in grid:
        begin = time.perf_counter()
        table = evaluate({"trial": baseline.fit(train)}, validation, slices, cheap)
        means = {metric: held.mean for metric, held in table.estimates["trial"].items()}
        trials.append(Trial(baseline, means, time.perf_counter() - begin))
    return Tuned(tuple(trials))
